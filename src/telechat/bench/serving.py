"""The second half of `telechat bench serve`: what a server adds to the engine, or saves.

A cached prefix, the time to the first token while others are being answered, memory over many requests, and the cost of
HTTP in seconds of the processor, which do not depend on what else the clients keep busy.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from telechat.bench.models import chat_model, random_model
from telechat.bench.serve import ANSWER, CONTEXT, SIZES, prompts_of
from telechat.bench.timing import median
from telechat.core.files import read_json, write_json
from telechat.core.progress import Progress
from telechat.core.seeds import rng
from telechat.core.types import Message
from telechat.data.corpora import documents
from telechat.engine import Engine, SamplingParams

PREFIX = 1024
STREAMS = 64
MANY = 10_000
ROUNDS = 5
QUESTION = 300  # characters of a question


def serving(progress: Progress) -> dict[str, Any]:
    """All of it."""
    parts: dict[str, Callable[[], Any]] = {
        "cached_prefix": cached_prefix,
        "first_token_under_load": under_load,
        "memory": memory,
        "http": lambda: [http_cost(name) for name in SIZES],
    }
    found = {}
    for name, measure in parts.items():
        found[name] = measure()
        progress.note(f"bench serve {name}: {json.dumps(found[name])}")
    return found


def _first_token(engine: Engine, prompt: list[int]) -> float:
    """Seconds until `prompt`, added to whatever the engine does, has its first token; it is then cancelled."""
    request = engine.add(prompt, [SamplingParams(2, 0.0)])
    begun = time.perf_counter()
    while not request.completions[0].ids:
        engine.step()
    seconds = time.perf_counter() - begun
    engine.cancel(request)
    return seconds


def cached_prefix(name: str = "30M") -> dict[str, Any]:
    """Time to the first token of a prompt whose first 1,024 tokens are new, and of one that shares them."""
    model = random_model(*SIZES[name], 2 * PREFIX).eval()
    prompts = prompts_of(name, ROUNDS + 1, PREFIX)
    engine = Engine(model, 4, fair=True)
    cold, warm = [], []
    for number, prompt in enumerate(prompts):
        cold.append(_first_token(engine, [*prompt, 11, 12 + number]))
        warm.append(_first_token(engine, [*prompt, 13, 14 + number]))
    new, known = median(cold[1:]), median(warm[1:])
    return {
        "model": name,
        "prefix": PREFIX,
        "new_ms": round(1e3 * new, 2),
        "cached_ms": round(1e3 * known, 2),
        "times": round(new / known, 1),
    }


def under_load(name: str = "30M") -> dict[str, Any]:
    """Time to the first token of a new prompt on an idle engine, and beside 64 streams that are being decoded.

    The prompt comes between two steps; in the middle of one it waits for its end as well."""
    model = random_model(*SIZES[name], CONTEXT).eval()
    prompts = prompts_of(name, STREAMS + 2 * ROUNDS + 2)
    idle, busy = Engine(model, STREAMS + 1, fair=True), Engine(model, STREAMS + 1, fair=True)
    for prompt in prompts[:STREAMS]:
        busy.add(prompt, [SamplingParams(CONTEXT, 0.0)])
    while busy.running < STREAMS or busy.queued:
        busy.step()
    alone, beside = [], []
    for one, other in zip(prompts[STREAMS::2], prompts[STREAMS + 1 :: 2], strict=True):
        alone.append(_first_token(idle, one))
        busy.step()
        assert busy.running >= STREAMS, "the streams have ended: this would be an idle engine"
        beside.append(_first_token(busy, other))
    quiet, loaded = median(alone[1:]), median(beside[1:])
    return {
        "model": name,
        "streams": STREAMS,
        "idle_ms": round(1e3 * quiet, 2),
        "loaded_ms": round(1e3 * loaded, 2),
        "times": round(loaded / quiet, 2),
    }


def memory(name: str = "1M") -> dict[str, Any]:
    """Resident memory after a tenth of 10,000 requests of many lengths, and after all of them."""
    model = random_model(*SIZES[name], CONTEXT).eval()
    engine = Engine(model, 32, fair=True)
    prompts = prompts_of(name, 256)
    sizes = []
    for first in range(0, MANY, 100):
        for number in range(first, first + 100):
            prompt = prompts[number % 256][: 16 + number * 7 % 112]
            engine.add([*prompt, 10 + number % (SIZES[name][-1] - 10)], [SamplingParams(1 + number % 4, 0.0)])
        while not engine.idle:
            engine.step()
        sizes.append(_resident())
    early, late = sizes[len(sizes) // 10], sizes[-1]
    return {"requests": MANY, "early_mb": round(early / 2**20, 1), "late_mb": round(late / 2**20, 1)}


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def http_cost(name: str) -> dict[str, Any]:
    """Processor seconds a token of 64 streams over HTTP, and of the engine alone in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for part in ("engine", "server"):
            file = Path(folder) / f"{part}.json"
            subprocess.run([sys.executable, "-m", "telechat.bench.serving", part, name, str(file)], check=True)
            found[part] = read_json(file)
    alone, served = (found[part]["seconds"] / found[part]["tokens"] for part in ("engine", "server"))
    return {
        "model": name,
        "streams": STREAMS,
        "engine_us_per_token": round(1e6 * alone, 1),
        "server_us_per_token": round(1e6 * served, 1),
        "added": round(served / alone - 1, 3),
    }


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _engine_alone(name: str) -> dict[str, float]:
    """64 questions through the engine as the server runs it."""
    chat = chat_model(*SIZES[name], CONTEXT)
    engine = chat.engine(STREAMS, fair=True)
    for number in range(2):  # the first round warms up
        for question in _questions(number):
            engine.add(chat.prompt([Message("user", question)]), [SamplingParams(ANSWER, 1.0, seed=number)])
        begun, made = _processor_seconds(), engine.generated_tokens
        while not engine.idle:
            engine.step()
    return {"seconds": _processor_seconds() - begun, "tokens": engine.generated_tokens - made}


def _server(name: str) -> dict[str, float]:
    """The same through the whole application; the clients are another process, whose time is not counted."""
    import threading

    from telechat.serve.app import Settings, create_app
    from telechat.serve.server import make_server, reserve, url_of
    from telechat.serve.worker import Worker

    chat = chat_model(*SIZES[name], CONTEXT)
    worker = Worker(lambda: chat.engine(STREAMS, fair=True))
    ready = threading.Event()
    with reserve("127.0.0.1", 0) as listener:
        server = make_server(create_app(chat, worker, Settings(("bench",))), ready.set, worker)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        ready.wait()
        for number in range(2):
            begun, made = _processor_seconds(), worker.read("generated_tokens")
            command = [sys.executable, "-m", "telechat.bench.serving", "clients", name, url_of(listener), str(number)]
            subprocess.run(command, check=True)
        seconds, tokens = _processor_seconds() - begun, worker.read("generated_tokens") - made
        server.should_exit = True
        thread.join()
    return {"seconds": seconds, "tokens": tokens}


def _questions(number: int) -> list[str]:
    """64 pieces of the standard library's docstrings, others in every round."""
    text = "\n".join(document.text for document in itertools.islice(documents("stdlib.docs", "heldout", 0, ()), 200))
    draw = rng("bench http", number)
    return [text[at : at + QUESTION] for at in (draw.randrange(len(text) - QUESTION) for _ in range(STREAMS))]


async def _clients(url: str, number: int) -> None:
    """64 streams at once, each read to its end."""
    import httpx

    async def one(client: httpx.AsyncClient, question: str) -> None:
        body = {"model": "bench", "messages": [{"role": "user", "content": question}], "max_tokens": ANSWER}
        body |= {"stream": True, "ignore_eos": True}
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for _ in answer.aiter_bytes():
                pass

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:
        await asyncio.gather(*(one(client, question) for question in _questions(number)))


def main() -> None:
    """A part that needs a process of its own: `engine|server NAME FILE`, `clients NAME URL NUMBER`."""
    import torch

    torch.set_num_threads(2)
    part, name, *rest = sys.argv[1:]
    if part == "clients":
        asyncio.run(_clients(rest[0], int(rest[1])))
    else:
        write_json(Path(rest[0]), _engine_alone(name) if part == "engine" else _server(name))


if __name__ == "__main__":
    main()
