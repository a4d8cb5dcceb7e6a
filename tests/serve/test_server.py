"""The real engine behind the real server: many clients, clients that vanish, equal seeds, offline equals online."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from telechat.engine import Engine, SamplingParams
from telechat.serve.worker import Worker

from .conftest import CONTEXT, serving, until
from .scripted import ScriptedEngine
from .test_chat_completions import CARD, HI, ask


@pytest.fixture(scope="module")
def real(chat):
    """(URL, worker) of a server with eight slots."""
    worker = Worker(lambda: Engine(chat.model, slots=8))
    with serving(chat, worker) as url:
        yield url, worker


def text_of(answer) -> list[tuple]:
    return [(c.message.content, c.message.reasoning_content, c.finish_reason) for c in answer.choices]


def test_models(real):
    models = openai.OpenAI(api_key="EMPTY", base_url=f"{real[0]}/v1").models.list()
    assert [m.id for m in models] == ["toy"]
    assert models.data[0].max_model_len == CONTEXT


def test_equal_seeds_give_equal_answers(real):
    fields = {"temperature": 1.5, "max_tokens": 12, "n": 3}
    first, again, other = (text_of(ask(real[0], seed=seed, **fields)) for seed in (7, 7, 8))
    assert first == again != other
    assert len(set(first)) == 3, "the samples of one request differ"
    assert text_of(ask(real[0], temperature=0, max_tokens=8)) == text_of(ask(real[0], temperature=0, max_tokens=8))


def test_usage_is_exact(real, chat):
    answer = ask(real[0], max_tokens=9, n=2, seed=1, logprobs=True)
    from telechat.core.types import Message

    assert answer.usage.prompt_tokens == len(chat.prompt([Message("user", "hi")]))
    assert answer.usage.completion_tokens == sum(len(c.logprobs.content) for c in answer.choices)
    assert all(t.logprob <= 0 for c in answer.choices for t in c.logprobs.content)


def test_noise_holds_no_control_words(real):
    for seed in range(6):
        answer = ask(real[0], seed=seed, temperature=2.0, max_tokens=60, n=4, extra_body=CARD)
        for choice in answer.choices:
            assert not any(word in (choice.message.content or "") for word in ("<think>", "</think>", "<_end>"))


def test_what_is_asked_for_beyond_the_context_is_cut_to_it(real):
    answer = ask(real[0], max_tokens=16384, seed=3)
    assert answer.usage.total_tokens <= CONTEXT


def test_the_server_says_what_the_session_says(real, chat):
    from telechat.core.types import Message

    said = list(chat.stream([Message("user", "hi")], (), SamplingParams(max_tokens=10, temperature=0.0)))
    online = ask(real[0], max_tokens=10, temperature=0.0).choices[0].message
    assert (online.content, online.reasoning_content) == (chat.last.content, chat.last.reasoning_content)
    assert "".join(d.text for d in said) == (chat.last.reasoning_content or "") + (chat.last.content or "")


def test_fifty_streams_at_once(real):
    url, worker = real

    async def one(client: openai.AsyncOpenAI, seed: int) -> int:
        stream = await client.chat.completions.create(
            model="toy", messages=HI, stream=True, seed=seed, max_tokens=10 + seed % 20, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-2].choices[0].finish_reason in ("stop", "length")
        return chunks[-1].usage.completion_tokens

    async def everybody() -> list[int]:
        async with openai.AsyncOpenAI(api_key="EMPTY", base_url=f"{url}/v1", max_retries=0) as client:
            return await asyncio.gather(*(one(client, seed) for seed in range(50)))

    made = asyncio.run(everybody())
    assert len(made) == 50
    assert all(0 < count <= 10 + seed % 20 for seed, count in enumerate(made))
    until(lambda: worker.idle)


def post_and_stay(url: str, **fields: object) -> socket.socket:
    """A client that has asked and does not read."""
    address = urlsplit(url)
    body = json.dumps({"model": "toy", "messages": HI, **fields})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    client = socket.create_connection((address.hostname, address.port))
    client.sendall((head + "content-type: application/json\r\n\r\n" + body).encode())
    return client


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_vanish_leave_nothing_behind(scripted, stream):
    url, engine, worker = scripted("on and on ", pace=0.002)  # without end: only leaving ends it
    sockets = [post_and_stay(url, stream=stream, max_tokens=10**8, n=2) for _ in range(30)]
    until(lambda: len(engine.requests) == 30)
    for client in sockets[:15]:
        client.close()
    until(lambda: len(engine.requests) == 15)
    for client in sockets[15:]:
        client.close()
    until(lambda: worker.idle)
    assert ask(url, max_tokens=2).usage.completion_tokens == 2


def test_what_is_still_running_when_the_server_stops_gets_an_error(chat):
    ids = chat.renderer.encode("on and on ")
    worker = Worker(lambda: ScriptedEngine(lambda prompt, sample: ids, pace=0.01))
    with ThreadPoolExecutor(2) as pool:
        with serving(chat, worker) as url:
            whole = pool.submit(ask, url, max_tokens=10**6)
            stream = ask(url, max_tokens=10**6, stream=True)
            next(stream)
            until(lambda: worker.open_requests == 2)
        with pytest.raises(openai.APIError, match="stopping"):
            list(stream)
        with pytest.raises(openai.InternalServerError, match="503"):
            whole.result(5)


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_vanish_leave_no_live_rows(real, stream):
    url, worker = real
    sockets = [post_and_stay(url, stream=stream, max_tokens=300, n=2) for _ in range(12)]
    until(lambda: worker.open_requests > 0)
    with contextlib.ExitStack() as stack:
        for client in sockets:
            stack.enter_context(client)
        if stream:
            assert sockets[0].recv(100)
    until(lambda: worker.idle)
    assert ask(url, max_tokens=2).usage.completion_tokens <= 2


@pytest.mark.timeout(180)
def test_a_crowd_of_which_half_vanishes_leaves_no_slot_behind(real):
    """200 clients at once, every second one of which leaves in the middle of its stream."""
    url, worker = real

    async def one(client: httpx.AsyncClient, number: int) -> int:
        """How many events a client read; one that vanishes reads three."""
        body = {"model": "toy", "messages": HI, "stream": True, "max_tokens": 30, "seed": number, "ignore_eos": True}
        read = 0
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                read += line.startswith("data:")
                if number % 2 and read == 3:
                    break
                if line == "data: [DONE]":
                    return -1
        return read

    async def everybody() -> list[int]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            return await asyncio.gather(*(one(client, number) for number in range(200)))

    read = asyncio.run(everybody())
    assert read == [3 if number % 2 else -1 for number in range(200)]
    until(lambda: worker.idle)
    assert worker.read("running") == worker.read("queued") == 0
    assert ask(url, max_tokens=2).usage.completion_tokens <= 2
