"""Before every route: the host that is asked for, the API key, the size of the body and how long it may take to come.

Plain ASGI, so that leaving clients are seen. Deny by default: what needs no key is listed, everything else needs one,
whatever is added later.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telechat.core.errors import UserError
from telechat.serve.wire import ApiError

OPEN_PATHS = frozenset({"/health", "/ready", "/", "/playground/frame.html"})
OPEN_FOLDER = "/static/"
"""Paths that need no key."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
BODY_SECONDS = 60.0  # a body that has not come by then is refused


class Gate:
    """Refuses, or passes on with a bounded body.

    `hosts` are the names that a request may ask for, None for any: a server without a key on the loopback address must
    not answer for another name, or a page that has this name point here could use it (DNS rebinding).
    """

    def __init__(
        self,
        app: ASGIApp,
        api_keys: Collection[str],
        max_body: int,
        hosts: Collection[str] | None = None,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._app = app
        self._keys = [hashlib.sha256(key.encode()).digest() for key in api_keys]
        self._max_body = max_body
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = self._refusal(scope["path"], headers)
        if refusal is not None:
            await refusal.response(scope["path"])(scope, receive, send)
            return
        await self._app(scope, self._bounded(receive), send)

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> ApiError | None:
        host = _name_of(headers.get(b"host", b"").decode("latin-1"))
        if self._hosts is not None and host not in self._hosts:
            return ApiError(403, "this server does not answer for that host; see --allowed-host", code="host_not_allowed")
        given = headers.get(b"authorization", b"")
        if b"x-api-key" in headers and not given:  # Anthropic's clients
            given = b"Bearer " + headers[b"x-api-key"]
        if path not in OPEN_PATHS and not path.startswith(OPEN_FOLDER) and not self._allows(given):
            text = "a valid API key is needed: send it as Authorization: Bearer KEY"
            return ApiError(401, text, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._max_body:
            return self._too_large({"connection": "close"})
        return None

    def _allows(self, authorization: bytes) -> bool:
        """Every key is compared, each in constant time."""
        if not self._keys:
            return True
        scheme, _, key = authorization.partition(b" ")
        given = hashlib.sha256(key.strip()).digest()
        known = [hmac.compare_digest(given, right) for right in self._keys]
        return any(known) and scheme.lower() == b"bearer"

    def _too_large(self, headers: dict[str, str] | None = None) -> ApiError:
        return ApiError(413, f"the body is larger than {self._max_body} bytes", headers=headers)

    def _bounded(self, receive: Receive) -> Receive:
        size, whole = 0, False

        async def bounded() -> Message:
            nonlocal size, whole
            try:
                async with asyncio.timeout(None if whole else self._body_seconds):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body did not come in time", {"connection": "close"}) from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self._max_body:  # an HTTPException, because that passes through the reading of the body
                raise HTTPException(413, str(self._too_large()))
            return message

        return bounded


def loopback_hosts(host: str, api_keys: Collection[str], allowed: Collection[str]) -> tuple[str, ...] | None:
    """The names that a server bound to `host` answers for; None is any, where it has a key or is open on purpose."""
    return None if api_keys or host not in LOOPBACK else (*LOOPBACK, *allowed)


def need_key(host: str, api_keys: Collection[str], without_key: bool) -> None:
    """Raise `UserError` for an address that others reach, without a key, unless that is what was asked for."""
    if host not in LOOPBACK and not api_keys and not without_key:
        raise UserError(
            f"--host {host}: anybody who reaches this machine could use it; give --api-key (or TELECHAT_API_KEY), "
            "or say --without-key"
        )


def _name_of(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
