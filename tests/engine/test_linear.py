"""Whatever the layout, a linear layer and a norm give what torch's own give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from telechat.core.errors import UserError
from telechat.engine import Engine, SamplingParams, linear
from telechat.engine.linear import FEW_NUMBERS, SMALL, Linear, Norm, has_int8, packs, stacked

SHAPES = [(48, 32), (320, 160), (SMALL // 256, 256)]  # (outputs, inputs)


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def layout(request, monkeypatch):
    """With oneDNN's order of weights, where this build of torch has it, and without."""
    if request.param and not packs():
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(linear, "packs", lambda: request.param)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [(1,), (1, 1), (7, 3), (64, 1), (2, 300)])
@pytest.mark.parametrize("biased", [True, False])
def test_a_linear_layer_of_any_size(layout, shape, rows, biased):
    torch.manual_seed(0)
    weight, bias = torch.randn(shape) / shape[1] ** 0.5, torch.randn(shape[0]) if biased else None
    x, other = torch.randn(*rows, shape[1]), torch.randn(*rows, shape[0])
    layer = Linear(weight, bias)
    expected = F.linear(x, weight, bias)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.add_to(other, x), other + expected, atol=1e-5, rtol=1e-5)
    apart = torch.randn(*rows, 2 * shape[1])[..., : shape[1]]  # a view, as halves of a matrix are
    torch.testing.assert_close(layer(apart), F.linear(apart, weight, bias), atol=1e-5, rtol=1e-5)


def test_few_numbers_of_rows_are_computed():
    sizes = [linear.rounded(rows) for rows in range(1, 4097)]
    assert all(rows <= size <= max(rows + 127, 2 * rows) for rows, size in enumerate(sizes, 1))
    assert len(set(sizes)) < 60
    assert [linear.rounded(size) for size in sizes] == sizes


def test_layers_of_one_input_become_one():
    parts = [nn.Linear(32, size, bias=True) for size in (8, 16, 4)]
    x = torch.randn(5, 32)
    torch.testing.assert_close(stacked(parts, "own")(x), torch.cat([part(x) for part in parts], -1))


def test_layers_that_need_no_other_form_are_held_once():
    parts = [nn.Linear(32, size, bias=False, dtype=torch.bfloat16) for size in (8, 16, 4)]
    x = torch.randn(5, 32, dtype=torch.bfloat16)
    alone = torch.cat([part(x) for part in parts], -1)
    joined = stacked(parts, "own")
    assert len({part.weight.untyped_storage().data_ptr() for part in parts}) == 1
    torch.testing.assert_close(joined(x), alone)
    torch.testing.assert_close(torch.cat([part(x) for part in parts], -1), alone)
    with torch.no_grad():
        parts[1].weight.zero_()  # a step of training
    assert not joined(x)[:, 8:24].any()


@pytest.mark.parametrize("rows", [1, 8, 2 * FEW_NUMBERS // 64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_norm_is_the_root_mean_square_norm(rows, scale):
    norm = nn.RMSNorm(64, eps=1e-5)
    with torch.no_grad():
        norm.weight.normal_()
        x = torch.randn(rows, 1, 64) * scale
        torch.testing.assert_close(Norm(norm)(x), norm(x), atol=1e-5, rtol=2e-5)


@pytest.mark.skipif(not has_int8(), reason="this processor or build of torch has no eight-bit kernel")
def test_eight_bits_lose_little():
    torch.manual_seed(0)
    weight, bias = torch.randn(64, 256) / 16, torch.randn(64)
    x = torch.randn(9, 256)
    error = Linear(weight, bias, "int8")(x) - F.linear(x, weight, bias)
    assert error.norm() / F.linear(x, weight, bias).norm() < 0.03


@pytest.mark.skipif(not has_int8(), reason="this processor or build of torch has no eight-bit kernel")
def test_an_engine_in_eight_bits_says_nearly_the_same(model):
    if model.device.type != "cpu":
        with pytest.raises(UserError, match="int8"):
            Engine(model, weights="int8")
        return
    exact, small = Engine(model), Engine(model, weights="int8")
    prompt = [[40, 41, 42, 43]]
    (a,) = exact.generate(prompt, [[SamplingParams(1, 0.0, top_logprobs=5)]])
    (b,) = small.generate(prompt, [[SamplingParams(1, 0.0, top_logprobs=5)]])
    assert abs(a[0].logprobs[0] - b[0].logprobs[0]) < 0.05


def test_without_a_kernel_eight_bits_are_refused(monkeypatch):
    monkeypatch.setattr(linear, "has_int8", lambda: False)
    with pytest.raises(UserError, match="int8"):
        Linear(torch.eye(4), weights="int8")
