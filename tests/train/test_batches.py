"""Shared prompts, padding and micro-batches change the speed and never the loss."""

from __future__ import annotations

import random

import pytest
import torch

from telechat.train.batches import Sample, collate, grouped, microbatches, rows_batch
from telechat.train.losses import next_token, policy_gradient


def samples(seed: int = 0, groups: int = 5, each: int = 3) -> list[Sample]:
    draw = random.Random(seed)
    out = []
    for _ in range(groups):
        prompt = tuple(draw.randrange(600) for _ in range(draw.randint(1, 30)))
        for _ in range(each):
            completion = tuple(draw.randrange(600) for _ in range(draw.randint(1, 20)))
            weights = tuple(draw.choice((0.0, 1.0, -0.5)) for _ in completion)
            out.append(Sample(prompt, completion, weights))
    return out


def loss_one_by_one(model, rows: list[Sample]) -> torch.Tensor:
    """Every sample alone, unpadded, through a plain forward."""
    total = torch.zeros(())
    for row in rows:
        ids = torch.tensor([row.prompt + row.completion])
        logprobs = torch.log_softmax(model(ids).logits[0, len(row.prompt) - 1 : -1], -1)
        chosen = logprobs.gather(-1, torch.tensor(row.completion)[:, None])[:, 0]
        total = total - (chosen * torch.tensor(row.weights)).sum()
    return total


@pytest.mark.parametrize("max_tokens", [60, 400, 100_000])
def test_loss_and_gradients_equal_those_of_single_unpadded_samples(model, max_tokens):
    rows = samples()
    expected = loss_one_by_one(model, rows)
    expected.backward()
    wanted = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    found = sum(next_token(model, batch)[0] for batch in microbatches(rows, max_tokens))
    found.backward()
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], atol=1e-3, rtol=1e-3)


def test_every_sample_is_in_exactly_one_group():
    rows = samples(1, 20, 4)
    flat = [i for group in grouped(rows, 200) for i in group]
    assert sorted(flat) == list(range(len(rows)))


def test_common_beginnings_are_stored_once():
    draw = random.Random(2)
    system = tuple(draw.randrange(600) for _ in range(20))
    prompts = [system + (600 + i,) * 9 for i in range(4)]
    rows = [Sample(p, tuple(draw.randrange(600) for _ in range(6)), (1.0,) * 6) for p in prompts for _ in range(5)]
    batch = collate(rows)
    assert batch.tokens == len(system) + 4 * 9 + 20 * 6
    again = collate([*rows, *rows])  # equal samples cost nothing, and count twice
    assert again.tokens <= batch.tokens
    assert len(again.targets) == 2 * len(batch.targets)


def test_a_tree_of_beginnings_changes_no_loss(model):
    draw = random.Random(9)
    trunk = tuple(draw.randrange(600) for _ in range(60))
    rows = []
    for _ in range(30):
        prompt = trunk[: draw.choice((9, 20, 33, 60))] + tuple(draw.randrange(600) for _ in range(draw.randint(0, 12)))
        completion = tuple(draw.randrange(600) for _ in range(draw.randint(1, 20)))
        rows.append(Sample(prompt, completion, tuple(draw.choice((0.0, 1.0)) for _ in completion)))
    rows += [Sample(r.prompt, r.completion + r.completion, r.weights + r.weights) for r in rows[:10]]
    found = next_token(model, collate(rows))[0]
    torch.testing.assert_close(found, loss_one_by_one(model, rows), atol=2e-3, rtol=1e-5)


def test_the_packed_forward_equals_the_models_own(model):
    from telechat.train.packed import _packed, _padded

    for rows in (samples(4, 8, 4), [Sample((), s.completion, s.weights) for s in samples(5, 20, 1)]):
        batch = collate(rows)
        torch.testing.assert_close(_packed(model.model, batch), _padded(model.model, batch), atol=1e-4, rtol=1e-4)
    batch = rows_batch(torch.randint(0, 600, (3, 40), generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(_packed(model.model, batch), _padded(model.model, batch), atol=1e-4, rtol=1e-4)


def test_on_policy_gradient_is_the_weighted_likelihood_gradient(model):
    batch = collate(samples(3))
    next_token(model, batch)[0].backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    with_old = samples(3)
    with torch.no_grad():
        for i, row in enumerate(with_old):
            logits = model(torch.tensor([row.prompt + row.completion])).logits[0, len(row.prompt) - 1 : -1]
            old = torch.log_softmax(logits, -1).gather(-1, torch.tensor(row.completion)[:, None])[:, 0]
            with_old[i] = Sample(row.prompt, row.completion, row.weights, tuple(old.tolist()))
    policy_gradient(model, collate(with_old))[0].backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=2e-3, rtol=1e-3)
