"""The engine's thread: what is submitted ends, with tokens or with an error, and what is left is taken out."""

from __future__ import annotations

import asyncio

import pytest

from telechat.core.errors import UserError
from telechat.engine import SamplingParams
from telechat.serve.worker import EngineFailure, Worker

from .conftest import until
from .scripted import ScriptedEngine


def count_up(prompt: list[int], sample: int) -> list[int]:
    return list(range(100 * sample, 100 * sample + 50))


@pytest.fixture
def made():
    """(worker, engines it has made)."""
    engines: list[ScriptedEngine] = []

    def make() -> ScriptedEngine:
        engines.append(ScriptedEngine(count_up, pace=0.002))
        return engines[-1]

    worker = Worker(make)
    worker.start()
    yield worker, engines
    worker.stop()


async def read(worker: Worker, params: list[SamplingParams], prompt: tuple[int, ...] = (1, 2)) -> dict[int, list[int]]:
    out: dict[int, list[int]] = {}
    async with worker.submit(prompt, params) as generation:
        async for step in generation:
            for token in step:
                out.setdefault(token.sample, []).append(token.id)
    return out


def test_every_sample_gets_its_tokens_in_order(made):
    params = [SamplingParams(max_tokens=5), SamplingParams(max_tokens=9, stop_ids=(103,))]
    assert asyncio.run(read(made[0], params)) == {0: [0, 1, 2, 3, 4], 1: [100, 101, 102, 103]}


def test_many_readers_at_once(made):
    async def all_of_them():
        return await asyncio.gather(*(read(made[0], [SamplingParams(max_tokens=n)]) for n in range(1, 40)))

    assert asyncio.run(all_of_them()) == [{0: list(range(n))} for n in range(1, 40)]
    until(lambda: made[0].idle)


def test_leaving_takes_the_request_out(made):
    worker, engines = made

    async def leave():
        async with worker.submit([1], [SamplingParams(max_tokens=10**6)] * 3) as generation:
            async for _ in generation:
                break
        async with worker.submit([1], [SamplingParams(max_tokens=10**6)]):
            pass  # before its first token, maybe before it was queued
        await asyncio.to_thread(until, lambda: worker.idle)

    asyncio.run(leave())
    assert engines[0].requests == []


def test_a_closed_loop_takes_its_requests_out(made):
    async def forget():
        generation = made[0].submit([1], [SamplingParams(max_tokens=10**6)])
        await anext(generation)

    asyncio.run(forget())
    until(lambda: made[0].idle)


def test_what_the_engine_refuses_is_the_requests_error(made):
    with pytest.raises(UserError, match="empty"):
        asyncio.run(read(made[0], [SamplingParams()], ()))


def test_a_crash_fails_what_runs_and_the_next_request_gets_a_new_engine(made, caplog):
    worker, engines = made

    async def crash():
        async with worker.submit([1], [SamplingParams(max_tokens=10**6)]) as generation:
            await anext(generation)
            engines[0].broken = RuntimeError("a kernel failed")
            async for _ in generation:
                pass

    with pytest.raises(EngineFailure, match="while it worked"):
        asyncio.run(crash())
    assert "a kernel failed" in caplog.text
    assert asyncio.run(read(worker, [SamplingParams(max_tokens=2)])) == {0: [0, 1]}
    assert len(engines) == 2


def test_a_worker_that_cannot_have_a_new_engine_refuses(caplog):
    engines = iter([ScriptedEngine(count_up)])
    worker = Worker(lambda: next(engines))
    worker._engine.broken = RuntimeError("gone for good")
    worker.start()
    for _ in range(2):
        with pytest.raises(EngineFailure):
            asyncio.run(read(worker, [SamplingParams(max_tokens=5)]))
    worker.stop()


def test_stopping_fails_what_is_open():
    worker = Worker(lambda: ScriptedEngine(count_up, pace=0.01))
    worker.start()

    async def stopped():
        async with worker.submit([1], [SamplingParams(max_tokens=10**6)]) as generation:
            await anext(generation)
            await asyncio.to_thread(worker.stop)
            async for _ in generation:
                pass

    with pytest.raises(EngineFailure, match="stopping"):
        asyncio.run(stopped())
