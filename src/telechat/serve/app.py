"""The HTTP application: routes, and errors in the OpenAI shape on every path."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

import telechat
from telechat.core.errors import UserError
from telechat.serve.completions import Completion, failure, prepare
from telechat.serve.schemas import ChatRequest
from telechat.serve.session import ChatModel
from telechat.serve.wire import ApiError, ClientLeft, EventStream, Gate, json_response, until_client_leaves
from telechat.serve.worker import EngineFailure, Worker

logger = logging.getLogger(__name__)

NOTES_HEADER = "x-telechat-notes"
"""Names settings of a request that had no effect, or another one than asked for."""

MAX_NOTED = 50

_JSON_HINT = "the body must be a JSON object, sent with content-type: application/json"


@dataclass(frozen=True)
class Settings:
    """How the application answers. `names[0]` is the model's name; the others are accepted for it."""

    names: tuple[str, ...]
    api_key: str | None = None
    max_body: int = 16 * 2**20


def create_app(chat: ChatModel, worker: Worker, settings: Settings) -> FastAPI:
    """The application; it starts `worker` when it starts and stops it when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        try:
            yield
        finally:
            await asyncio.to_thread(worker.stop)

    app = FastAPI(title="telechat", version=telechat.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, api_key=settings.api_key, max_body=settings.max_body)
    _add_errors(app)
    _add_models(app, worker, settings)
    noted: set[str] = set()

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process is alive. Needs no key."""
        return {"status": "ok"}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """A chat completion, whole or streamed."""
        if body.model not in settings.names:
            raise unknown_model(body.model, settings)
        job = await asyncio.to_thread(prepare, chat, worker, body)
        headers = {NOTES_HEADER: "; ".join(job.notes)} if job.notes else {}
        _log_once(noted, job.notes)
        completion = Completion(chat, body, job)
        if body.stream:
            return EventStream(completion.chunks(worker), headers)
        return json_response(await until_client_leaves(request.receive, completion.whole(worker)), headers=headers)

    return app


def unknown_model(name: str, settings: Settings) -> ApiError:
    """404: this server has another model."""
    return ApiError(404, f"there is no model {name!r} here; use {settings.names[0]!r}", "model", "model_not_found")


def _add_models(app: FastAPI, worker: Worker, settings: Settings) -> None:
    name = settings.names[0]
    model = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "telechat"}
    model["max_model_len"] = worker.max_len

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model that is served."""
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        """The model by its name."""
        if name not in settings.names:
            raise unknown_model(name, settings)
        return model


def _add_errors(app: FastAPI) -> None:
    """Every error in the OpenAI shape; what is no fault of the client shows nothing of the inside."""

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _invalid(error.errors()[0]).response()

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        text = f"there is no {request.url.path}" if error.status_code == 404 else error.detail
        return ApiError(error.status_code, text).response(error.headers)

    @app.exception_handler(UserError)
    @app.exception_handler(EngineFailure)
    async def engine_error(request: Request, error: UserError | EngineFailure) -> Response:
        return failure(error).response()

    @app.exception_handler(ClientLeft)
    async def left(request: Request, error: ClientLeft) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return ApiError(500, "internal error").response()


def _invalid(error: Mapping[str, Any]) -> ApiError:
    """The first thing that is wrong with a body, and where."""
    text = str(error["msg"]).removeprefix("Value error, ")
    where = [str(part) for part in error["loc"] if part != "body"]
    if error["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {error.get('ctx', {}).get('error', error['msg'])}", code="invalid_json")
    if not where and error["type"] != "value_error":
        return ApiError(400, _JSON_HINT)
    param = ".".join(where) or None
    return ApiError(400, f"{param}: {text}" if param else text, param)


def _log_once(noted: set[str], notes: list[str]) -> None:
    """Warn of each note once, and of so many at most: what clients send must not fill the log."""
    for note in notes:
        if note not in noted and len(noted) < MAX_NOTED:
            noted.add(note)
            logger.warning("a request has settings without their usual effect (said once): %s", note)
