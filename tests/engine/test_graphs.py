"""Decode steps of fixed shape: what they compute is what steps of the rows' own shape compute."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from telechat.engine import Engine, SamplingParams
from telechat.engine.graphs import MOST_ROWS, DecodeGraphs, rounded_positions, rounded_rows
from telechat.engine.runner import Runner

CLOSE = dict(atol=1e-4, rtol=0)


@given(st.integers(1, MOST_ROWS))
def test_rows_are_rounded_up_to_few_numbers(rows):
    assert rows <= rounded_rows(rows) < rows + 8
    assert len({rounded_rows(n) for n in range(1, MOST_ROWS + 1)}) == 4 + (MOST_ROWS - 8) // 8


@given(st.integers(1, 2**17))
def test_positions_are_rounded_up_by_an_eighth_at_most(positions):
    assert positions <= rounded_positions(positions) < positions + max(128, positions / 8)
    assert rounded_positions(positions) % 128 == 0


def filled(model, lengths, slots):
    """A runner with a spare slot whose first slots hold random prompts of these lengths, and the prompts."""
    runner = Runner(model)
    runner._graphs = DecodeGraphs(runner)
    runner.allocate(slots, 192)
    prompts = [torch.randint(5, 90, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in lengths]
    runner.run(prompts, range(len(prompts)), [0] * len(prompts))
    return runner, prompts


@pytest.mark.parametrize("lengths", [[7], [3, 40, 130], list(range(5, 14))])
def test_a_padded_step_computes_the_logits_and_leaves_other_slots_alone(model, lengths):
    runner, prompts = filled(model, lengths, slots=17)
    before = [kv[len(lengths) : 17].clone() for kv in runner.kv]
    for token in (11, 12):
        count, rows = len(prompts), rounded_rows(len(prompts))
        idle = [0] * (rows - count)
        inputs = torch.tensor(
            [[token] * count + idle, [*map(len, prompts), *idle], [*range(count), *(17 for _ in idle)]], device=runner.device
        )
        found = runner._graphs.step(inputs, min(rounded_positions(max(map(len, prompts)) + 1), 192))[:count]
        prompts = [[*prompt, token] for prompt in prompts]
        with torch.no_grad():
            expected = [model(torch.tensor([ids], device=runner.device)).logits[0, -1] for ids in prompts]
        torch.testing.assert_close(found, torch.stack(expected), **CLOSE)
    for kv, old in zip(runner.kv, before, strict=True):
        assert torch.equal(kv[len(lengths) : 17], old)


@pytest.mark.gpu
def test_captured_steps_compute_what_the_first_one_did(model):
    if model.device.type != "cuda":
        pytest.skip("graphs are CUDA's")
    runner, prompts = filled(model, [5, 60, 33], slots=6)
    for token in range(20, 30):
        found = runner.decode([token] * 3, [len(prompt) for prompt in prompts]).clone()
        prompts = [[*prompt, token] for prompt in prompts]
        with torch.no_grad():
            expected = [model(torch.tensor([ids], device="cuda")).logits[0, -1] for ids in prompts]
        torch.testing.assert_close(found, torch.stack(expected), **CLOSE)
    assert [step.captured is not None for step in runner._graphs._steps.values()] == [True]
    runner.allocate(6, 256)
    assert not runner._graphs._steps


@pytest.mark.gpu
def test_an_engine_that_grows_and_changes_its_weights_keeps_its_answers(model):
    if model.device.type != "cuda":
        pytest.skip("graphs are CUDA's")
    engine = Engine(model, slots=5)
    prompts = [[7, 8, 9 + n] * (n + 2) for n in range(9)]
    params = [[SamplingParams(temperature=0.0, max_tokens=150)] for _ in prompts]
    first = [c.ids for (c,) in engine.generate(prompts, params)]
    assert [c.ids for (c,) in engine.generate(prompts, params)] == first
    with torch.no_grad():
        model.lm_head.weight.neg_()
    engine.refresh()
    changed = [c.ids for (c,) in engine.generate(prompts, params)]
    assert changed != first
    assert changed == [c.ids for (c,) in Engine(model, slots=9).generate(prompts, params)]
