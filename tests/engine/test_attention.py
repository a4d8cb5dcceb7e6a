"""The kernel for one new token a row computes what torch's own operations do."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F

from telechat.engine import Engine, SamplingParams

attention = pytest.importorskip("telechat.engine.attention")
pytestmark = pytest.mark.skipif(not attention.DecodeAttention.is_available(), reason="torch has no OpenMP that others may use")

SIZES = [(4, 4, 16), (4, 2, 32), (8, 1, 64), (6, 2, 20), (3, 3, 2)]  # (heads, kv_heads, dim)


def turned(x, cos, sin):
    """x (rows, heads, dim) by the angles of cos and signed sin (rows, dim)."""
    return x * cos[:, None] + x.roll(x.shape[-1] // 2, -1) * sin[:, None]


def inputs(heads, kv_heads, dim, lengths, positions):
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(len(lengths), heads + 2 * kv_heads, dim, generator=generator)
    cache = torch.randn(len(lengths), 2 * kv_heads, positions, dim, generator=generator)
    angles = torch.rand(positions, dim // 2, generator=generator) * 6
    cos, sin = angles.cos().repeat(1, 2), torch.cat([-angles.sin(), angles.sin()], -1)
    return qkv, cache, cos, sin, torch.tensor(lengths)


def by_torch(heads, kv_heads, qkv, cache, cos, sin, lengths):
    """The same, row by row: what is attended to (rows, heads · dim), and the cache as it is then."""
    cache, attended = cache.clone(), []
    q, k, v = qkv.split([heads, kv_heads, kv_heads], 1)
    q, k = turned(q, cos[lengths], sin[lengths]), turned(k, cos[lengths], sin[lengths])
    for row, length in enumerate(lengths.tolist()):
        cache[row, :, length] = torch.cat([k[row], v[row]])
        keys, values = cache[row, :, : length + 1].chunk(2)
        attended.append(F.scaled_dot_product_attention(q[row, :, None], keys, values, enable_gqa=True).flatten())
    return torch.stack(attended), cache


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("lengths", [[0], [40], [0, 1, 2, 3, 4, 5, 39, 40], [7] * 33])
def test_it_attends_as_torch_does(sizes, lengths, threads):
    heads, kv_heads, dim = sizes
    given = inputs(heads, kv_heads, dim, lengths, positions=41)
    expected, after = by_torch(heads, kv_heads, *given)
    got = attention.DecodeAttention(heads, kv_heads, dim)(*given)
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=2e-6)
    torch.testing.assert_close(given[1], after, atol=1e-6, rtol=1e-6)


def test_scores_of_any_size_do_no_harm():
    """One key far above all others, and all of them far below zero."""
    for factor in (-300.0, 300.0):
        qkv, cache, cos, sin, lengths = inputs(2, 1, 16, [20], positions=32)
        qkv[:, :2] *= factor
        expected, _ = by_torch(2, 1, qkv, cache, cos, sin, lengths)
        got = attention.DecodeAttention(2, 1, 16)(qkv, cache, cos, sin, lengths)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_a_row_is_computed_alone(threads):
    """Beside whichever others, its numbers are the same to the bit."""
    lengths = [5, 31, 0, 17]
    qkv, cache, cos, sin, where = inputs(4, 2, 32, lengths, positions=32)
    kernel = attention.DecodeAttention(4, 2, 32)
    alone = [kernel(qkv[row : row + 1], cache[row : row + 1].clone(), cos, sin, where[row : row + 1]) for row in range(4)]
    assert torch.equal(kernel(qkv, cache, cos, sin, where), torch.cat(alone))


def test_a_row_that_is_over_touches_no_memory_but_its_own():
    qkv, cache, cos, sin, _ = inputs(4, 2, 32, [0, 0], positions=16)
    before = cache.clone()
    attention.DecodeAttention(4, 2, 32)(qkv, cache, cos, sin, torch.tensor([500, 3]))
    changed = (cache != before).any(-1)  # (rows, 2 · kv_heads, positions)
    assert changed.nonzero().tolist() == [[row, head, at] for row, at in ((0, 15), (1, 3)) for head in range(4)]


def completions(engine):
    prompts = [[5, 6, 7], [8] * 20, [9, 10]]
    return [one for (one,) in engine.generate(prompts, [[SamplingParams(12, 0.0)] for _ in prompts])]


@pytest.mark.parametrize("absent", ["numba", "openmp"])
def test_without_it_the_engine_gives_the_same(model, monkeypatch, absent):
    if model.device.type != "cpu":
        pytest.skip("it is for the CPU")
    engine = Engine(model)
    assert engine.runner._decode_attention is not None
    expected = completions(engine)
    if absent == "numba":
        monkeypatch.setitem(sys.modules, "telechat.engine.attention", None)
    else:
        monkeypatch.setattr(attention, "compiled", lambda entry: None)
    engine = Engine(model)
    assert engine.runner._decode_attention is None
    for got, other in zip(completions(engine), expected, strict=True):
        assert got.ids == other.ids
        torch.testing.assert_close(torch.tensor(got.logprobs), torch.tensor(other.logprobs), atol=1e-5, rtol=1e-5)


def test_other_types_of_numbers_go_without_it(model):
    assert Engine(model.bfloat16()).runner._decode_attention is None
