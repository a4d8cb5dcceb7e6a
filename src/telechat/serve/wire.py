"""HTTP as OpenAI clients expect it: the error object, event streams, leaving clients."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from telechat.serve.log import request_id

T = TypeVar("T")

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

ANTHROPIC_PATH = "/v1/messages"
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class ApiError(Exception):
    """An answer that is an error: status, message and the fields of the OpenAI error object."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The OpenAI error object."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def anthropic_body(self) -> dict[str, Any]:
        """The same as Anthropic's error object."""
        text = f"prompt is too long: {self}" if self.code == "context_length_exceeded" else str(self)
        error = {"type": _ANTHROPIC_TYPES.get(self.status, "api_error"), "message": text}
        return {"type": "error", "error": error, "request_id": request_id()}

    def response(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        """The error as an HTTP response, in the shape of the API that `path` belongs to."""
        body = self.anthropic_body if path.startswith(ANTHROPIC_PATH) else self.body
        return json_response(body, self.status, {**self.headers, **(headers or {})})


class ClientLeft(Exception):
    """Nobody is there any more to read the answer."""


def json_bytes(value: Any) -> bytes:
    """Compact JSON in UTF-8; half a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as a JSON response."""
    return Response(json_bytes(value), status, dict(headers or {}), "application/json")


def event(value: Any) -> bytes:
    """One server-sent event that holds `value` as JSON."""
    return b"data: " + json_bytes(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = 15.0  # seconds of silence in a stream


async def until_client_leaves(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; when the client leaves first, `work` is cancelled and `ClientLeft` raised.

    Works the same whether or not the server cancels responses itself; `receive` must have nothing left of the body.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeft
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """A stream of server-sent events; `events` is closed as soon as it ends or the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(b"", 200, {"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self._events = events
        self._sent = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the headers at once, then each event as it comes."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with suppress(ClientLeft):
            await until_client_leaves(receive, self._pump(send))

    async def _pump(self, send: Send) -> None:
        waking = asyncio.ensure_future(self._keep_alive(send))
        try:
            async with aclosing(self._events) as events:
                async for data in events:
                    self._sent = time.monotonic()
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            waking.cancel()
            await asyncio.gather(waking, return_exceptions=True)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _keep_alive(self, send: Send) -> None:
        """Send a comment where nothing else is sent for a while: clients and proxies give up a silent connection."""
        while True:
            await asyncio.sleep(max(0.0, self._sent + KEEP_ALIVE - time.monotonic()))
            if time.monotonic() - self._sent >= KEEP_ALIVE:
                self._sent = time.monotonic()
                await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})
