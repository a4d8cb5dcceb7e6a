"""Sampling draws from the distribution that it says, and a row's randomness is its own."""

from __future__ import annotations

import torch

from telechat.engine import SamplingParams
from telechat.engine.sampler import History, Penalties, RowParams, sample, uniforms

CPU = torch.device("cpu")


def params(count: int, **settings) -> RowParams:
    return RowParams([SamplingParams(seed=i, **settings) for i in range(count)], CPU)


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
    ids, *_ = sample(logits, params(50_000), torch.zeros(50_000, dtype=torch.long))
    shares = torch.bincount(ids, minlength=4) / 50_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.01, rtol=0)


def test_top_p_and_top_k_exclude_the_tail():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).repeat(4000, 1)
    zeros = torch.zeros(4000, dtype=torch.long)
    assert set(sample(logits, params(4000, top_p=0.75), zeros)[0].tolist()) == {0, 1}
    assert set(sample(logits, params(4000, top_k=3), zeros)[0].tolist()) == {0, 1, 2}
    assert set(sample(logits, params(4000, min_p=0.4), zeros)[0].tolist()) == {0, 1}
    # top-p is a share of what top-k leaves: 0.5 / 0.95 is more than half
    assert set(sample(logits, params(4000, top_k=3, top_p=0.52), zeros)[0].tolist()) == {0}


def test_greedy_and_sampled_rows_share_a_batch():
    logits = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    rows = RowParams([SamplingParams(temperature=float(i % 2), seed=i) for i in range(64)], CPU)
    ids, logprobs, _ = sample(logits, rows, torch.zeros(64, dtype=torch.long))
    assert torch.equal(ids[::2], logits.argmax(-1)[::2])
    assert not torch.equal(ids[1::2], logits.argmax(-1)[1::2])
    expected = torch.log_softmax(logits, -1).gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(logprobs, expected)


def test_a_cut_of_a_large_vocabulary_is_the_same_without_sorting_it(monkeypatch):
    logits = 3 * torch.randn(200, 5000, generator=torch.Generator().manual_seed(1))
    zeros = torch.zeros(200, dtype=torch.long)
    for settings in (
        {"top_k": 7},
        {"top_p": 0.6},
        {"min_p": 0.05},
        {"top_k": 50, "top_p": 0.9, "min_p": 0.01, "temperature": 0.7},
    ):
        narrow = sample(logits, params(200, **settings), zeros)[0]
        with monkeypatch.context() as patch:
            patch.setattr("telechat.engine.sampler.WIDEST", 5000)
            assert torch.equal(sample(logits, params(200, **settings), zeros)[0], narrow)


def test_uncut_rows_beside_cut_ones_keep_their_whole_distribution():
    logits = torch.zeros(3000, 3000)
    rows = RowParams([SamplingParams(seed=i, top_k=(i % 2) * 5) for i in range(3000)], CPU)
    ids = sample(logits, rows, torch.zeros(3000, dtype=torch.long))[0]
    assert len(set(ids[::2].tolist())) > 1000
    assert len(set(ids[1::2].tolist())) <= 5


def test_penalties_follow_their_definitions():
    logits = torch.tensor([[2.0, -1.0, 0.5, 0.0, 1.0]]).repeat(2, 1)
    asked = SamplingParams(
        repetition_penalty=2.0,
        presence_penalty=0.5,
        frequency_penalty=0.25,
        logit_bias=((3, 4.0),),
        stop_ids=(4,),
        min_tokens=3,
    )
    penalties = Penalties([History(SamplingParams(), [0], [0]), History(asked, [1], [0, 0])], 5, CPU)
    plain, changed = penalties.apply(logits)
    assert torch.equal(plain, logits[0])
    # 0: said twice (2 / 2 - 0.5 - 2 · 0.25); 1: asked only (-1 · 2); 2: neither; 3: biased; 4: too early to stop
    torch.testing.assert_close(changed, torch.tensor([0.0, -2.0, 0.5, 4.0, -torch.inf]))
    penalties.add(torch.tensor([4, 2]))
    torch.testing.assert_close(penalties.apply(logits)[1], torch.tensor([0.0, -2.0, 0.25 - 0.75, 4.0, 1.0]))
    assert torch.equal(logits[1], logits[0])  # the model's own logits stay as they are
