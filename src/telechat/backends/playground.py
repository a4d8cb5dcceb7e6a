"""The playground in front of another engine's API: pure ASGI, one class, nothing else of the server is imported.

vLLM takes it by name (`--middleware`); SGLang's application gets it from `sglang_server.py`.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from telechat.serve.playground import response_for
from telechat.serve.wire import ApiError


class Playground:
    """Answers for the page and its files; everything else goes on to the engine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            try:
                page = response_for(Request(scope))
            except ApiError as error:
                page = error.response(scope["path"])
            if page is not None:
                await page(scope, receive, send)
                return
        await self._app(scope, receive, send)
