"""The written-out gradients of the packed forward pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from telechat.train.packed import _Norm, _SwiGlu, _SwiGluApart


def doubles(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def test_both_gates_are_silu_times_up_with_its_gradient():
    gate, up = doubles(5, 6), doubles(5, 6)
    torch.testing.assert_close(_SwiGluApart.apply(gate, up), F.silu(gate) * up)
    torch.testing.assert_close(_SwiGlu.apply(torch.cat([gate, up], -1)), F.silu(gate) * up)
    assert torch.autograd.gradcheck(_SwiGluApart.apply, (gate, up))
    assert torch.autograd.gradcheck(_SwiGlu.apply, (doubles(5, 12),))


def test_the_norm_is_rms_norm_with_its_gradient():
    x, weight = doubles(5, 6), doubles(6)
    torch.testing.assert_close(_Norm.apply(x, weight, 1e-5), F.rms_norm(x, (6,), weight, 1e-5))
    assert torch.autograd.gradcheck(lambda x, w: _Norm.apply(x, w, 1e-5), (x, weight))
