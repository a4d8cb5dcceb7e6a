"""The HTTP application: routes, and errors in the OpenAI shape on every path."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

import telechat
from telechat.chat.parser import ReasoningField
from telechat.chat.presets import get_preset
from telechat.core.errors import UserError
from telechat.serve import answer_bodies as shapes
from telechat.serve import responses as response_api
from telechat.serve.bodies import AnthropicErrorBody, DetokenizeRequest, ErrorBody, TextRequest, TokenizeRequest
from telechat.serve.completions import Completion
from telechat.serve.gate import Gate
from telechat.serve.job import prepare, prompt_of
from telechat.serve.log import RequestLog, add_text
from telechat.serve.messages import CountRequest, MessagesRequest, Reply
from telechat.serve.metrics import Metrics
from telechat.serve.page_check import add_page_check
from telechat.serve.playground import add_playground
from telechat.serve.responses import ResponsesRequest
from telechat.serve.run import failure
from telechat.serve.schemas import ChatRequest
from telechat.serve.session import ChatModel
from telechat.serve.text_completions import TextCompletion, check_prompts, prepare_text, text_notes
from telechat.serve.wire import ApiError, ClientLeft, EventStream, json_response, until_client_leaves
from telechat.serve.worker import EngineFailure, Place, Worker

logger = logging.getLogger(__name__)

NOTES_HEADER = "x-telechat-notes"
"""Names settings of a request that had no effect, or another one than asked for."""

MAX_NOTED = 50
ANTHROPIC_HEADER = "anthropic-version"

_JSON_HINT = "the body must be a JSON object, sent with content-type: application/json"


_REFUSALS = (400, 401, 403, 404, 408, 413, 429, 500, 503, 504)
_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in _REFUSALS}
_STREAM: dict[str, Any] = {"content": {"text/event-stream": {}}}
_ANTHROPIC_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": AnthropicErrorBody} for status in _REFUSALS}


_STATUS: dict[int | str, dict[str, Any]] = {status: {"model": shapes.StatusBody} for status in (200, 503)}


def _answers(
    body: type[shapes.Answer], errors: Mapping[int | str, dict[str, Any]] = _ERRORS, more: Mapping[str, Any] | None = None
) -> dict[int | str, dict[str, Any]]:
    """The answers of a route, for the document."""
    return {200: {"model": body, **(more or {})}, **errors}


@dataclass(frozen=True)
class Settings:
    """How the application answers. `names[0]` is the model's name; the others are accepted for it.

    `any_name` accepts every model name, for clients that insist on one of their own. Above `max_queued` waiting
    completions requests are refused with 429, above `max_samples` samples of one prompt (`n`) with 400.
    `reasoning_field` is the name that thinking has in chat completions, `metrics_prefix` what the figures' names begin
    with. `hosts`, where given, are the only names that a request may ask for; pages of `cors_origins` may read the
    answers. Prompts are in the log only with `log_prompts`.
    """

    names: tuple[str, ...]
    api_keys: tuple[str, ...] = ()
    max_body: int = 16 * 2**20
    hosts: tuple[str, ...] | None = None
    cors_origins: tuple[str, ...] = ()
    any_name: bool = False
    max_queued: int = 1024
    max_samples: int = 8
    metrics_prefix: str = "telechat:"
    preset: str | None = None
    log_prompts: bool = False
    reasoning_field: ReasoningField = "reasoning_content"


@dataclass
class Server:
    """What the routes share."""

    chat: ChatModel
    worker: Worker
    settings: Settings
    metrics: Metrics
    noted: set[str] = field(default_factory=set)

    def admit(self, model: str, samples: int | None = None) -> None:
        """Raise `ApiError` unless a request for `model` may come in."""
        if model not in self.settings.names and not self.settings.any_name:
            raise unknown_model(model, self.settings)
        if self.worker.stopping:
            raise ApiError(503, "the server is stopping", headers={"retry-after": "5"})
        most = min(self.settings.max_samples, self.worker.slots)
        if samples is not None and samples > most:
            raise ApiError(400, f"n: {samples} samples were asked for; this server makes at most {most} of one prompt", "n")

    def places(self, *completions: int) -> list[Place]:
        """Places in the queue, kept while the request is read; raises `ApiError` when there are none.

        A request of more completions than may wait is taken while nobody else waits.
        """
        if self.worker.would_wait(sum(completions)) > self.settings.max_queued and self.worker.would_wait(0):
            self.metrics.refused("queue_full")
            raise ApiError(429, "too many requests are waiting; try again", code="queue_full", headers={"retry-after": "1"})
        return [self.worker.keep_place(count) for count in completions]

    def log_prompts(self, *prompts: list[int]) -> None:
        """Put prompts into the log, where the operator has asked for it."""
        if self.settings.log_prompts:
            add_text("prompt", "\n".join(self.chat.renderer.decode(ids) for ids in prompts))

    def notes(self, notes: list[str]) -> dict[str, str]:
        """Headers that name settings without effect."""
        _log_once(self.noted, notes)
        return {NOTES_HEADER: "; ".join(notes)} if notes else {}


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
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    app.add_middleware(Gate, api_keys=settings.api_keys, max_body=settings.max_body, hosts=settings.hosts)
    if settings.cors_origins:  # outside of the gate: a browser's question before the request carries no key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "request-id", NOTES_HEADER],
        )
    app.add_middleware(RequestLog, bug=lambda path: ApiError(500, "internal error").response(path))
    if settings.preset is not None:
        chat.defaults = chat.defaults.with_preset(get_preset(settings.preset, chat.renderer.format))
    server = Server(chat, worker, settings, Metrics(worker, settings.names[0], settings.metrics_prefix))
    _add_errors(app)
    _add_models(app, worker, settings)
    _add_state(app, server)
    _add_openai(app, server)
    _add_responses(app, server)
    _add_messages(app, server)
    _add_tokens(app, server)
    add_playground(app)
    add_page_check(app)
    return app


def _add_openai(app: FastAPI, server: Server) -> None:
    @app.post("/v1/chat/completions", response_model=None, responses=_answers(shapes.ChatCompletionBody, _ERRORS, _STREAM))
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """A chat completion, whole or streamed."""
        server.admit(body.model, body.n)
        [place] = server.places(body.n or 1)
        job = await asyncio.to_thread(prepare, server.chat, server.worker, body)
        job.place = place
        server.log_prompts(job.prompt)
        headers = server.notes(job.notes)
        completion = Completion(server.chat, body, job, server.settings.reasoning_field)
        if body.stream:
            return EventStream(completion.chunks(server.worker), headers)
        return json_response(await until_client_leaves(request.receive, completion.whole(server.worker)), headers=headers)

    @app.post("/v1/completions", response_model=None, responses=_answers(shapes.TextCompletionBody, _ERRORS, _STREAM))
    async def completions(body: TextRequest, request: Request) -> Response:
        """Text that goes on, whole or streamed."""
        server.admit(body.model, body.n)
        check_prompts(body)
        places = server.places(*[body.n or 1] * len(body.prompts))
        jobs = await asyncio.to_thread(prepare_text, server.chat, server.worker, body)
        for job, place in zip(jobs, places, strict=True):
            job.place = place
        server.log_prompts(*(job.ids for job in jobs))
        headers = server.notes(text_notes(body, jobs))
        completion = TextCompletion(server.chat, body, jobs)
        if body.stream:
            return EventStream(completion.chunks(server.worker), headers)
        return json_response(await until_client_leaves(request.receive, completion.whole(server.worker)), headers=headers)


def _add_responses(app: FastAPI, server: Server) -> None:
    @app.post("/v1/responses", response_model=None, responses=_answers(shapes.ResponsesBody, _ERRORS, _STREAM))
    async def responses(body: ResponsesRequest, request: Request) -> Response:
        """A response, whole or as events."""
        server.admit(body.model)
        [place] = server.places(1)
        translated, names = await asyncio.to_thread(body.as_chat)
        job = await asyncio.to_thread(prepare, server.chat, server.worker, translated)
        job.place = place
        server.log_prompts(job.prompt)
        headers = server.notes(job.notes)
        answer = response_api.Response(server.chat, body, translated, names, job)
        if body.stream:
            return EventStream(answer.events(server.worker), headers)
        return json_response(await until_client_leaves(request.receive, answer.whole(server.worker)), headers=headers)


def _add_messages(app: FastAPI, server: Server) -> None:
    @app.post("/v1/messages", response_model=None, responses=_answers(shapes.MessagesBody, _ANTHROPIC_ERRORS, _STREAM))
    async def messages(body: MessagesRequest, request: Request) -> Response:
        """A message, whole or as events."""
        server.admit(body.model)
        [place] = server.places(1)
        translated = await asyncio.to_thread(body.as_chat)
        job = await asyncio.to_thread(prepare, server.chat, server.worker, translated)
        job.place = place
        server.log_prompts(job.prompt)
        headers = server.notes(job.notes)
        reply = Reply(server.chat, body, translated, job)
        if body.stream:
            return EventStream(reply.events(server.worker), headers)
        return json_response(await until_client_leaves(request.receive, reply.whole(server.worker)), headers=headers)

    @app.post("/v1/messages/count_tokens", response_model=None, responses=_answers(shapes.CountBody, _ANTHROPIC_ERRORS))
    async def count_tokens(body: CountRequest) -> dict[str, int]:
        """How many tokens a conversation is."""
        server.admit(body.model)
        return {"input_tokens": await asyncio.to_thread(lambda: len(prompt_of(server.chat, body.as_chat())))}


def _add_tokens(app: FastAPI, server: Server) -> None:
    @app.post("/tokenize", response_model=None, responses=_answers(shapes.TokensBody))
    async def tokenize(body: TokenizeRequest) -> dict[str, Any]:
        """The ids of a text or of a conversation."""
        if body.messages is not None:
            chat = body.as_chat(server.settings.names[0])
            ids = await asyncio.to_thread(prompt_of, server.chat, chat, body.add_generation_prompt)
        else:
            read = partial(server.chat.tokenizer, body.prompt, add_special_tokens=body.add_special_tokens)
            ids = list((await asyncio.to_thread(read))["input_ids"])
        answer = {"count": len(ids), "max_model_len": server.worker.max_len, "tokens": ids}
        if body.return_token_strs:
            answer["token_strs"] = server.chat.tokenizer.convert_ids_to_tokens(ids)
        return answer

    @app.post("/detokenize", response_model=None, responses=_answers(shapes.TextBody))
    async def detokenize(body: DetokenizeRequest) -> dict[str, str]:
        """The text of ids."""
        if any(token >= server.chat.vocabulary for token in body.tokens):
            raise ApiError(400, f"tokens: ids go from 0 to {server.chat.vocabulary - 1}", "tokens")
        return {"prompt": await asyncio.to_thread(server.chat.renderer.decode, body.tokens)}


def _add_state(app: FastAPI, server: Server) -> None:
    @app.get("/health", response_model=None, responses=_STATUS)
    async def health() -> Response:
        """The process is alive, and so is its engine. Needs no key."""
        alive = server.worker.alive
        return json_response({"status": "ok" if alive else "the engine has stopped"}, 200 if alive else 503)

    @app.get("/ready", response_model=None, responses=_STATUS)
    async def ready() -> Response:
        """New requests are taken. Needs no key."""
        takes = server.worker.alive and not server.worker.stopping
        return json_response({"status": "ready" if takes else "stopping"}, 200 if takes else 503)

    @app.get("/metrics", response_model=None)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document. Wrong bodies are 400 here, not FastAPI's 422."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        app.openapi_schema = document
    return app.openapi_schema


def unknown_model(name: str, settings: Settings) -> ApiError:
    """404: this server has another model."""
    return ApiError(404, f"there is no model {name!r} here; use {settings.names[0]!r}", "model", "model_not_found")


def _add_models(app: FastAPI, worker: Worker, settings: Settings) -> None:
    name = settings.names[0]
    model: dict[str, Any] = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "telechat"}
    model["max_model_len"] = worker.max_len

    begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(model["created"]))
    theirs = {"type": "model", "id": name, "display_name": name, "created_at": begun}

    @app.get("/v1/models", response_model=None, responses=_answers(shapes.ModelList))
    async def models(request: Request) -> dict[str, Any]:
        """The one model that is served, as the client's API shows models."""
        if ANTHROPIC_HEADER in request.headers:
            return {"data": [theirs], "has_more": False, "first_id": name, "last_id": name}
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name:path}", responses=_ERRORS)
    async def one_model(name: str, request: Request) -> dict[str, Any]:
        """The model by its name."""
        if name not in settings.names:
            raise unknown_model(name, settings)
        return theirs if ANTHROPIC_HEADER in request.headers else model


def _add_errors(app: FastAPI) -> None:
    """Every error in the shape of its API; what is no fault of the client shows nothing of the inside."""

    def shaped(request: Request, error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
        return error.response(request.scope["path"], headers)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return shaped(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return shaped(request, _invalid(error.errors()[0]))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        text = f"there is no {request.url.path}" if error.status_code == 404 else error.detail
        return shaped(request, ApiError(error.status_code, text), error.headers)

    @app.exception_handler(UserError)
    @app.exception_handler(EngineFailure)
    async def engine_error(request: Request, error: UserError | EngineFailure) -> Response:
        return shaped(request, failure(error))

    @app.exception_handler(ClientLeft)
    async def left(request: Request, error: ClientLeft) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return shaped(request, ApiError(500, "internal error"))


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
