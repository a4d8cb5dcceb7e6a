"""The kernels for norms and gates compute what torch's own operations do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

rowwise = pytest.importorskip("telechat.engine.rowwise")
pytestmark = pytest.mark.skipif(not rowwise.Rowwise.is_available(), reason="torch has no OpenMP that others may use")

SHAPES = [(1, 1, 128), (3, 7, 20), (64, 1, 512), (5, 1, 1408), (2, 3, 1)]


@pytest.fixture(params=[1, 2, 3])
def kernels(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield rowwise.Rowwise()
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", SHAPES)
def test_norms(kernels, shape):
    x, weight = torch.randn(shape) * 3, torch.rand(shape[-1]) + 0.5
    expected = F.rms_norm(x, shape[-1:], weight, 1e-5)
    torch.testing.assert_close(kernels.norm(x, weight, torch.tensor([1e-5])), expected, atol=3e-6, rtol=3e-6)
    zeros = torch.zeros(shape)
    assert torch.equal(kernels.norm(zeros, weight, torch.tensor([1e-5])), zeros)


@pytest.mark.parametrize("shape", SHAPES)
def test_gates(kernels, shape):
    both = torch.randn(*shape[:-1], 2 * shape[-1]) * 5
    gate, up = both.chunk(2, -1)
    torch.testing.assert_close(kernels.gate(both), F.silu(gate) * up, atol=1e-5, rtol=3e-6)


def test_gates_far_from_zero(kernels):
    gate = torch.tensor([-1e30, -200.0, -88.0, -1e-30, 0.0, 88.0, 200.0, 1e30])
    found = kernels.gate(torch.cat([gate, torch.ones(8)])[None])
    torch.testing.assert_close(found[0], F.silu(gate), atol=1e-30, rtol=3e-6)


def test_a_row_does_not_depend_on_the_others(kernels):
    x = torch.randn(9, 64)
    weight, eps = torch.ones(64), torch.tensor([1e-6])
    assert torch.equal(kernels.norm(x, weight, eps)[4:5], kernels.norm(x[4:5], weight, eps))
    assert torch.equal(kernels.gate(x)[4:5], kernels.gate(x[4:5]))
