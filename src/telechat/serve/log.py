"""One line a request: what was asked for, how it ended, how long it took. What people write is not in it unless told.

Lines are `key=value` or JSON. A request has an id of our own, which the answer carries in `x-request-id`.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Literal

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LogFormat = Literal["text", "json", "off"]
MAX_PATH = 200  # characters of a path that are shown

logger = logging.getLogger("telechat.access")
_fields: ContextVar[dict[str, Any] | None] = ContextVar("telechat_request", default=None)


def add_counts(**counts: int) -> None:
    """Add to the counts of the request that is being answered; nothing outside of one."""
    fields = _fields.get()
    if fields is not None:
        for name, count in counts.items():
            fields[name] = fields.get(name, 0) + count


def add_text(name: str, text: str) -> None:
    """Note a text of the request that is being answered; only called where the operator wants texts in the log."""
    fields = _fields.get()
    if fields is not None:
        fields[name] = text


def request_id() -> str | None:
    """The id of the request that is being answered."""
    return (_fields.get(None) or {}).get("request_id")


class RequestLog:
    """Gives every request an id and logs it when it is over. Plain ASGI. `bug` makes the answer for what nobody caught,
    from the path that was asked for."""

    def __init__(self, app: ASGIApp, bug: Callable[[str], ASGIApp]) -> None:
        self._app = app
        self._bug = bug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields: dict[str, Any] = {
            "request_id": secrets.token_hex(8),
            "method": scope["method"],
            "path": scope["path"][:MAX_PATH],
            "status": 499,  # the client left before an answer began
        }
        begun = time.perf_counter()
        token = _fields.set(fields)

        began = False

        async def tagged(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                fields["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = headers["request-id"] = fields["request_id"]  # OpenAI's name and Anthropic's
            await send(message)

        try:
            await self._app(scope, receive, tagged)
        except Exception:
            if not began:  # answered here, where the request still has its id; what goes on up is logged
                await self._bug(scope["path"])(scope, receive, tagged)
            raise
        finally:
            _fields.reset(token)
            fields["seconds"] = round(time.perf_counter() - begun, 4)
            logger.info("request", extra={"fields": fields})


class _Lines(logging.Formatter):
    """A record and its `fields` as `key=value` or as JSON."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._json = as_json

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        line = {"time": stamp, "level": record.levelname.lower(), "event": record.getMessage(), **fields}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if self._json:
            return json.dumps(line, ensure_ascii=False)
        return " ".join(f"{name}={_plain(value)}" for name, value in line.items())


def _plain(value: object) -> str:
    """A value without spaces as it is; others quoted, so that nobody can write a line of his own into the log."""
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text, ensure_ascii=False)


def configure(kind: LogFormat) -> None:
    """Send the package's log lines to stderr in this form; "off" leaves warnings only, as plain text."""
    package = logging.getLogger("telechat")
    for handler in [h for h in package.handlers if isinstance(h.formatter, _Lines)]:
        package.removeHandler(handler)
    if kind == "off":
        package.setLevel(logging.WARNING)
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(kind == "json"))
    package.addHandler(handler)
    package.propagate = False
    package.setLevel(logging.INFO)
