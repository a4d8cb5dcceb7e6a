"""Sampling draws from the distribution that it says, and a row's randomness is its own."""

from __future__ import annotations

import torch

from telechat.engine.sampler import RowParams, sample, uniforms

CPU = torch.device("cpu")


def test_uniforms_are_uniform_and_repeatable():
    seeds = torch.arange(200_000)
    found = uniforms(seeds, torch.zeros_like(seeds))
    assert torch.equal(found, uniforms(seeds, torch.zeros_like(seeds)))
    assert found.min() >= 0
    assert found.max() < 1
    counts = torch.histc(found, 20, 0, 1) / len(found)
    assert (counts - 0.05).abs().max() < 0.003


def test_neighbouring_positions_are_uncorrelated():
    positions = torch.arange(100_000)
    found = uniforms(torch.zeros_like(positions), positions)
    assert abs(torch.corrcoef(torch.stack([found[:-1], found[1:]]))[0, 1]) < 0.01


def test_frequencies_follow_the_probabilities():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).repeat(50_000, 1)
    rows = RowParams([1.0] * 50_000, [1.0] * 50_000, [0] * 50_000, list(range(50_000)), CPU)
    ids, _ = sample(logits, rows, torch.zeros(50_000, dtype=torch.long))
    shares = torch.bincount(ids, minlength=4) / 50_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.01, rtol=0)


def test_top_p_and_top_k_exclude_the_tail():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).repeat(4000, 1)
    zeros = torch.zeros(4000, dtype=torch.long)
    top_p = RowParams([1.0] * 4000, [0.75] * 4000, [0] * 4000, list(range(4000)), CPU)
    assert set(sample(logits, top_p, zeros)[0].tolist()) == {0, 1}
    top_k = RowParams([1.0] * 4000, [1.0] * 4000, [3] * 4000, list(range(4000)), CPU)
    assert set(sample(logits, top_k, zeros)[0].tolist()) == {0, 1, 2}


def test_greedy_and_sampled_rows_share_a_batch():
    logits = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    rows = RowParams([0.0, 1.0] * 32, [1.0] * 64, [0] * 64, list(range(64)), CPU)
    ids, logprobs = sample(logits, rows, torch.zeros(64, dtype=torch.long))
    assert torch.equal(ids[::2], logits.argmax(-1)[::2])
    assert not torch.equal(ids[1::2], logits.argmax(-1)[1::2])
    expected = torch.log_softmax(logits, -1).gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(logprobs, expected)
