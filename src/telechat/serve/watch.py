"""`telechat watch RUN`: a run while it trains, as a page. Curves, rewards, rollouts, and any two stages in one chat.

Everything is read from the run directory, which is only ever replaced file by file: nothing here can disturb the run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.responses import Response

from telechat.core.errors import UserError
from telechat.core.files import read_json
from telechat.core.types import Message
from telechat.engine import SamplingParams
from telechat.serve.gate import Gate
from telechat.serve.playground import PAGE_POLICY, ROOT, add_static, static_file
from telechat.serve.schemas import Body, ChatMessage
from telechat.serve.session import ChatModel
from telechat.serve.wire import ApiError

POINTS = 400  # of a curve at most; the screen shows no more
SERIES = ("loss", "nll", "reward", "mixed", "completion", "right", "norm", "lr", "tokens_per_second")
PARTS, RATES = "reward/", "rate/"  # what the names of a reward's parts and of a kind's running pass rate begin with
MODELS = 2  # that are kept in memory at the same time
MAX_BODY = 1 << 20


class Question(Body):
    """A conversation for the model of one stage."""

    stage: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 256
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0


class RunFolder:
    """A run directory, read anew at each question. Raises `UserError` when there is none."""

    def __init__(self, out: Path) -> None:
        self.out = out
        if not (out / "recipe.yaml").is_file():
            raise UserError(f"{out}: is no run directory: it has no recipe.yaml; start one with telechat run")

    def stages(self) -> list[Path]:
        """The folders of the stages that have begun."""
        return sorted(folder for folder in (self.out / "stages").glob("*") if (folder / "manifest.json").is_file())

    def stage(self, name: str) -> Path:
        """The folder of the stage `name`; raises `ApiError` when it has not begun."""
        for folder in self.stages():
            if read_json(folder / "manifest.json").get("name") == name:
                return folder
        raise ApiError(404, f"there is no stage {name!r} yet", "stage")

    def overview(self) -> dict[str, Any]:
        """Every stage with its state, its figures and its curves."""
        return {"name": self.out.name, "stages": [_overview(folder) for folder in self.stages()]}

    def rollouts(self, name: str, step: int | None) -> dict[str, Any]:
        """The rollouts that stage `name` kept at `step`, or the last ones, and which steps there are."""
        files = sorted((self.stage(name) / "data").glob("rollouts-*.jsonl"))
        steps = [int(file.stem.removeprefix("rollouts-")) for file in files]
        if not files:
            return {"steps": [], "step": None, "rows": []}
        chosen = steps.index(step) if step in steps else -1
        return {"steps": steps, "step": steps[chosen], "rows": _lines(files[chosen])}


def _overview(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / "manifest.json")
    rows = _lines(folder / "metrics.jsonl")
    metrics = manifest.get("metrics") or {}
    return {
        "name": manifest["name"],
        "kind": manifest["kind"],
        "state": manifest["state"],
        "seconds": manifest.get("seconds"),
        "steps": rows[-1]["step"] if rows else 0,
        "series": {name: points for name in (*SERIES, *_names(rows, PARTS)) if (points := _series(rows, name))},
        "rates": {name.removeprefix(RATES): rows[-1][name] for name in _names(rows[-1:], RATES)},
        "scores": metrics.get("scores"),
        "metrics": {key: value for key, value in metrics.items() if key not in ("scores", "scores_sampled", "transfer")},
        "rollouts": len(list((folder / "data").glob("rollouts-*.jsonl"))),
        "model": (folder / "model" / "config.json").is_file() and manifest["kind"] not in ("tokenizer", "reward_model"),
    }


def _lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file; a last line that is still being written is left out."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _names(rows: Sequence[Mapping[str, Any]], beginning: str) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name.startswith(beginning)))


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> list[list[float]]:
    """(step, value) pairs, each the mean of as many rows as leaves `POINTS` of them."""
    found = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), (int, float))]
    width = max(1, -(-len(found) // POINTS))
    groups = [found[i : i + width] for i in range(0, len(found), width)]
    return [[group[-1][0], round(sum(value for _, value in group) / len(group), 6)] for group in groups]


def create_watch_app(run: RunFolder, api_key: str | None = None, hosts: Sequence[str] | None = None) -> FastAPI:
    """The page and what it asks for."""
    app = FastAPI(title="telechat watch", docs_url=None, redoc_url=None)
    app.add_middleware(Gate, api_keys=[api_key] if api_key else [], max_body=MAX_BODY, hosts=hosts)
    loaded = lru_cache(MODELS)(ChatModel.load)
    turn = asyncio.Lock()

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return static_file(request, ROOT / "watch.html", PAGE_POLICY)

    @app.get("/api/run")
    async def overview() -> dict[str, Any]:
        """The run as it is now."""
        return await asyncio.to_thread(run.overview)

    @app.get("/api/rollouts/{stage}")
    async def rollouts(stage: str, step: int | None = None) -> dict[str, Any]:
        """Rollouts of one stage."""
        return await asyncio.to_thread(run.rollouts, stage, step)

    @app.post("/api/chat")
    async def chat(question: Question) -> dict[str, Any]:
        """One answer of the model of a stage."""
        folder = run.stage(question.stage) / "model"
        if not (folder / "config.json").is_file():
            raise ApiError(409, f"stage {question.stage!r} has no model yet", "stage")
        messages = [Message.from_dict(m.model_dump(exclude_none=True)) for m in question.messages]
        params = SamplingParams(question.max_tokens, question.temperature)
        async with turn:  # one at a time: training wants the processor as well
            model = await asyncio.to_thread(loaded, str(folder))
            answer = await asyncio.to_thread(model.chat, messages, (), params)
        return answer.to_dict()

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return error.response(request.scope["path"])

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        wrong = ApiError(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        return wrong.response(request.scope["path"])

    @app.exception_handler(UserError)
    @app.exception_handler(ValueError)
    async def refused(request: Request, error: Exception) -> Response:
        return ApiError(400, str(error)).response(request.scope["path"])

    add_static(app)
    return app
