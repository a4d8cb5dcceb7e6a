"""Long prompts, little memory and constraints change when tokens are computed, never which."""

from __future__ import annotations

import random

import pytest
import torch

from telechat.core.errors import UserError
from telechat.engine import Engine, SamplingParams
from telechat.engine import engine as scheduling
from tests.engine.test_engine import prompts, reference_logprobs


def run_to_the_end(engine: Engine) -> None:
    for _ in range(5000):
        if engine.idle:
            return
        engine.step()
    raise AssertionError("the engine does not come to an end")


def check(model, request) -> None:
    for completion in request.completions:
        expected = reference_logprobs(model, request.prompt, completion.ids)
        chosen = expected.gather(-1, torch.tensor(completion.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), chosen, atol=1e-4, rtol=0)


@pytest.mark.parametrize("fair", [True, False])
def test_a_long_prompt_in_parts_gives_the_same_tokens(model, monkeypatch, fair):
    monkeypatch.setattr(scheduling, "PREFILL_TOKENS", 16)
    monkeypatch.setattr(scheduling, "FAIR_PREFILL_TOKENS", 8)
    engine = Engine(model, slots=6, fair=fair)
    first = engine.add(prompts(1)[0], [SamplingParams(30, 0.0)])
    engine.step()
    long = engine.add(list(range(100, 200)), [SamplingParams(9, 1.0, seed=i) for i in range(3)])
    run_to_the_end(engine)
    check(model, first)
    check(model, long)
    alone = Engine(model).generate([long.prompt], [long.params])[0]
    assert [c.ids for c in long.completions] == [c.ids for c in alone]


def test_a_fair_engine_goes_on_answering_while_it_reads_a_long_prompt(model, monkeypatch):
    monkeypatch.setattr(scheduling, "FAIR_PREFILL_TOKENS", 10)
    engine = Engine(model, slots=4, fair=True)
    talking = engine.add([50, 60, 70], [SamplingParams(40, 0.0)])
    engine.step()
    long = engine.add(list(range(100, 200)), [SamplingParams(2, 0.0)])
    before = len(talking.completions[0].ids)
    while not long.completions[0].ids:
        engine.step()
    assert len(talking.completions[0].ids) - before >= 9  # 100 tokens in parts of 10
    run_to_the_end(engine)
    check(model, long)


def test_a_prompt_can_be_cancelled_while_it_is_read(model, monkeypatch):
    monkeypatch.setattr(scheduling, "PREFILL_TOKENS", 10)
    engine = Engine(model, slots=4, fair=True)
    long = engine.add(list(range(100, 200)), [SamplingParams(2, 0.0)] * 2)
    engine.step()
    engine.cancel(long)
    engine.step()
    assert engine.idle
    assert [c.finish for c in long.completions] == ["cancelled"] * 2
    assert engine.generate([[40, 41]], [[SamplingParams(3, 0.0)]])[0][0].finish == "length"


@pytest.mark.parametrize("fair", [True, False])
def test_too_little_memory_for_all_pre_empts_and_loses_nothing(model, monkeypatch, fair):
    monkeypatch.setattr(scheduling, "RESERVE", 8)
    draw = random.Random(1)
    engine = Engine(model, slots=8, fair=fair)
    small = Engine(model, slots=8, fair=fair, kv_bytes=engine.runner.bytes_per_token * 64 * 5)
    asked = [[draw.randrange(30, 600) for _ in range(draw.randint(20, 55))] for _ in range(12)]
    params = [[SamplingParams(draw.randint(20, 120), 1.0, seed=10 * i + j) for j in range(1 + i % 3)] for i in range(12)]
    requests = [small.add(p, q) for p, q in zip(asked, params, strict=True)]
    run_to_the_end(small)
    assert small.preemptions > 0
    assert small.reused_tokens == sum(request.cached for request in requests) <= small.prompt_tokens
    assert small.prefilled_tokens > small.prompt_tokens - small.reused_tokens  # what was sent back is computed again
    assert small.runner.rows * small.runner.max_len <= 64 * 5
    for request, expected in zip(requests, engine.generate(asked, params), strict=True):
        assert request.open == 0
        assert [c.ids for c in request.completions] == [c.ids for c in expected]
        check(model, request)


def test_more_samples_than_memory_run_one_after_the_other(model):
    size = Engine(model).runner.bytes_per_token
    engine = Engine(model, slots=8, kv_bytes=size * 256)
    (done,) = engine.generate([list(range(100, 150))], [[SamplingParams(30, 1.0, seed=i) for i in range(7)]])
    alone = Engine(model).generate([list(range(100, 150))], [[SamplingParams(30, 1.0, seed=i) for i in range(7)]])[0]
    assert [c.ids for c in done] == [c.ids for c in alone]


def test_slots_become_short_again_after_a_long_row(model):
    size = Engine(model).runner.bytes_per_token
    engine = Engine(model, slots=4, kv_bytes=size * 256)
    engine.generate([list(range(100, 200))], [[SamplingParams(100, 0.0)]])
    assert engine.runner.rows == 1
    engine.generate([[40 + i, 41, 42] for i in range(8)], [[SamplingParams(20, 0.0)]] * 8)
    assert engine.runner.rows == 4
    assert engine.runner.max_len == 64


def test_memory_for_less_than_one_slot_is_refused(model):
    with pytest.raises(UserError, match="keys and values"):
        Engine(model, kv_bytes=1000)


def test_random_loads_end_and_stay_exact(model, monkeypatch):
    monkeypatch.setattr(scheduling, "RESERVE", 16)
    monkeypatch.setattr(scheduling, "PREFILL_TOKENS", 48)
    monkeypatch.setattr(scheduling, "FAIR_PREFILL_TOKENS", 24)
    for seed in range(6):
        draw = random.Random(seed)
        kv = Engine(model).runner.bytes_per_token * draw.choice([256, 320, 640])
        engine = Engine(model, slots=draw.randint(2, 6), fair=bool(seed % 2), kv_bytes=kv)
        system = [draw.randrange(30, 600) for _ in range(30)]
        requests = []
        for _ in range(25):
            prompt = system[: draw.randint(1, 30)] + [draw.randrange(30, 600) for _ in range(draw.randint(1, 90))]
            count = draw.randint(1, min(3, engine.slots))
            requests.append(engine.add(prompt, [SamplingParams(draw.randint(1, 80), 1.0, seed=j) for j in range(count)]))
            for _ in range(draw.randint(0, 12)):
                engine.step()
            if draw.random() < 0.2:
                engine.cancel(draw.choice(requests))
        run_to_the_end(engine)
        for request in requests:
            assert request.open == 0
            check(model, request)
            if not request.cancelled:
                assert [len(c.ids) for c in request.completions] == [p.max_tokens for p in request.params]


class Only:
    """Allows `ids` in turn, then nothing but `end`."""

    def __init__(self, ids: list[int], end: int, broken: bool = False) -> None:
        self.ids, self.end, self.said, self.broken = ids, end, [], broken

    def allowed(self) -> torch.Tensor | None:
        number = len(self.said)
        if number == 0:
            return None
        mask = torch.zeros(600, dtype=torch.bool)
        mask[self.ids[number - 1] if number <= len(self.ids) else self.end] = True
        return mask

    def accept(self, token: int) -> None:
        self.said.append(token)


def test_a_constraint_decides_what_comes_next_and_hears_what_came(model):
    engine = Engine(model, slots=4)
    limits = [Only([40, 41, 42], 7), None]
    request = engine.add([50, 51, 52], [SamplingParams(20, 1.0, stop_ids=(7,)), SamplingParams(5, 0.0)], limits)
    run_to_the_end(engine)
    first, second = request.completions
    assert first.ids[1:] == [40, 41, 42, 7]
    assert first.finish == "stop"
    assert limits[0].said == first.ids
    assert second.ids == Engine(model).generate([[50, 51, 52]], [[SamplingParams(5, 0.0)]])[0][0].ids
    check(model, request)


def test_an_answer_whose_constraint_broke_has_not_stopped_by_itself(model):
    engine = Engine(model, slots=4)
    request = engine.add([50, 51, 52], [SamplingParams(20, 1.0, stop_ids=(7,))], [Only([40], 7, broken=True)])
    run_to_the_end(engine)
    assert request.completions[0].ids[1:] == [40, 7]
    assert request.completions[0].finish == "length"


def test_top_logprobs_are_the_models_own(model):
    params = [SamplingParams(6, 0.0, top_logprobs=4), SamplingParams(6, 1.0, seed=3), SamplingParams(6, 1.0, top_logprobs=1)]
    (done,) = Engine(model).generate([[50, 51, 52]], [params])
    expected = reference_logprobs(model, [50, 51, 52], done[0].ids)
    values, ids = expected.topk(4)
    assert [[t for t, _ in row] for row in done[0].top] == ids.tolist()
    torch.testing.assert_close(torch.tensor([[v for _, v in row] for row in done[0].top]), values, atol=1e-4, rtol=0)
    assert done[1].top == []
    assert [len(row) for row in done[2].top] == [1] * 6


def test_a_repeated_token_is_penalised_in_the_engine_too(model):
    prompt = [50, 51, 52]
    (free,) = Engine(model).generate([prompt], [[SamplingParams(20, 0.0)]])[0]
    biased = SamplingParams(20, 0.0, logit_bias=((77, 100.0),))
    (said,) = Engine(model).generate([prompt], [[biased]])[0]
    assert said.ids == [77] * 20
    once = SamplingParams(20, 0.0, presence_penalty=2.0, frequency_penalty=2.0, repetition_penalty=5.0)
    (varied,) = Engine(model).generate([prompt], [[once]])[0]
    assert len(set(varied.ids)) >= len(set(free.ids))
    assert not set(varied.ids[:5]) & set(prompt)


def test_a_newcomer_does_not_wait_for_those_who_are_being_answered(model):
    """Nor do they wait for a crowd of newcomers: joining and decoding take turns."""
    engine = Engine(model, slots=16, fair=True)
    old = [engine.add([40 + i, 41, 42], [SamplingParams(200, 0.0)]) for i in range(4)]
    for _ in range(20):
        engine.step()
    new = [engine.add([50 + i, 43, *range(100, 200)], [SamplingParams(5, 0.0)]) for i in range(8)]
    before = [len(request.completions[0].ids) for request in old]
    for step in range(1, 9):
        engine.step()
        if step == 2:
            assert new[0].completions[0].ids
    assert all(len(request.completions[0].ids) - then >= 3 for request, then in zip(old, before, strict=True))
    while not all(request.completions[0].ids for request in new):
        engine.step()
    assert all(request.open for request in old)
