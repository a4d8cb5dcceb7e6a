"""The page at `/`: static files of the package, and the headers that keep what a model writes in its frame.

The page may be read without a key; it asks for one when the API wants it. Generated pages run in a frame with an
origin of its own that reaches neither this page nor the network: its document is written from outside, because a
document that a page writes itself would inherit that page's policy.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
from dataclasses import asdict
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import FastAPI, Request
from starlette.responses import Response

from telechat.chat.presets import CARD_OF_TELECHAT25, PRESETS
from telechat.serve.wire import ApiError

PRESETS_FILE = "/static/presets.js"
SERVER_FILE = "/static/server.js"
ROOT = files("telechat.serve") / "static"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; font-src data:; connect-src 'none'; form-action 'none'; base-uri 'none'"
)
SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def add_playground(app: FastAPI) -> None:
    """The page, its files, and the frame for generated pages."""

    @app.get("/", include_in_schema=False)
    @app.get("/playground/frame.html", include_in_schema=False)
    async def page(request: Request) -> Response:
        return _found(request)

    add_static(app)


def add_static(app: FastAPI) -> None:
    """The files that the pages load."""

    @app.get("/static/{path:path}", include_in_schema=False)
    async def static(path: str, request: Request) -> Response:
        return _found(request)


def _found(request: Request) -> Response:
    response = response_for(request)
    if response is None:
        raise ApiError(404, f"there is no {request.scope['path']}")
    return response


def response_for(request: Request) -> Response | None:
    """The page, its frame or one of its files; None for a path that belongs to the API. Raises `ApiError` (404)."""
    path = request.scope["path"]
    if path == "/":
        return static_file(request, ROOT / "index.html", PAGE_POLICY)
    if path == "/playground/frame.html":
        return static_file(request, ROOT / "frame.html", FRAME_POLICY)
    if not path.startswith("/static/"):
        return None
    if path == PRESETS_FILE:
        return _file(request, _presets(), "presets.js", PAGE_POLICY)
    if path == SERVER_FILE:
        return _file(request, _abilities(request), "server.js", PAGE_POLICY)
    parts = path.removeprefix("/static/").split("/")
    if any(part in ("", ".", "..") or "\\" in part for part in parts) or path.endswith(".html"):
        raise ApiError(404, f"there is no {path}")
    return static_file(request, ROOT.joinpath(*parts), PAGE_POLICY)


def static_file(request: Request, file: Traversable, policy: str) -> Response:
    """One file of the package with its headers, or 304 when the browser has it."""
    if not file.is_file():
        raise ApiError(404, f"there is no {request.scope['path']}")
    return _file(request, file.read_bytes(), file.name, policy)


def _presets() -> bytes:
    """The presets of the cards as a module of the page, for servers that do not know them by name."""
    known = {name: asdict(preset) for name, preset in PRESETS.items()}
    card = asdict(CARD_OF_TELECHAT25)
    return f"export const PRESETS = {json.dumps(known)};\nexport const CARD = {json.dumps(card)};\n".encode()


def _abilities(request: Request) -> bytes:
    """What the server behind the page can do beside the API, as a module of the page."""
    state = getattr(request.scope.get("app"), "state", None)
    return f"export const CHECKS_PAGES = {json.dumps(getattr(state, 'page_check', False))};\n".encode()


def _file(request: Request, body: bytes, name: str, policy: str) -> Response:
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = {"etag": tag, "cache-control": "no-cache", "content-security-policy": policy, **SAFE}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    return Response(body, media_type=kind, headers=headers)
