"""Linear layers and norms in the form that is fastest on this machine; linear layers also in eight bits.

`F.linear` asks a BLAS library that reads a weight matrix at a fraction of the memory's speed when there are few rows
(11 of 53 GB/s on an AMD processor, `docs/log.md`); oneDNN with weights in its own order reads two to four times as fast.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from telechat.core.errors import UserError

if TYPE_CHECKING:
    from telechat.engine.rowwise import Rowwise

FEW_ROWS = 16  # below so many rows, a call of oneDNN costs more than it saves …
SMALL = 2**19  # … on matrices of fewer numbers than these
FEW_NUMBERS = 2**13  # up to so many numbers torch's operations cost less than a call of a kernel of our own

Weights = Literal["own", "int8"]
"""The model's own numbers, or eight bits for each with one scale for each output."""


@functools.cache
def packs() -> bool:
    """Whether oneDNN's own order of weights can be used."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        weight = torch.eye(4)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, FEW_ROWS)
        return torch.equal(torch.ops.mkldnn._linear_pointwise(weight, packed, None, "none", [], ""), weight)
    except (RuntimeError, AttributeError, TypeError):  # another build or version of torch
        return False


@functools.cache
def has_int8() -> bool:
    """Whether torch has a kernel for eight-bit weights on this processor."""
    try:
        _Int8(torch.eye(4))(torch.eye(4))
    except (RuntimeError, AttributeError):
        return False
    return True


@functools.cache
def _overflows() -> bool:
    """Without VNNI two products are added in 16 bits, which holds them when inputs have seven bits only."""
    vnni = getattr(torch.cpu, "_is_vnni_supported", None)
    return not (vnni is not None and vnni())


class _Int8:
    """Weights of eight bits; inputs are brought to eight bits in each call, with one scale for all of its rows."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        scales = weight.float().abs().amax(1).clamp_min(1e-12) / 127
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():  # torch means to replace these; `has_int8` says when they are gone
            warnings.simplefilter("ignore")
            quantized = torch.quantize_per_channel(weight.float(), scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(quantized, bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic(x.contiguous(), self._packed, _overflows())


class Linear:
    """x (…, inputs) → x·Wᵀ + b (…, outputs), for weights that do not change."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, weights: Weights = "own") -> None:
        self._bias = bias
        self._int8: _Int8 | None = None
        self._packed: Any = None
        self._plain: torch.Tensor | None = weight
        if weights == "int8":
            if weight.device.type != "cpu" or not has_int8():
                raise UserError("int8: this machine's torch has no kernel for it; leave --dtype out")
            self._int8, self._plain = _Int8(weight, bias), None
        elif weight.device.type == "cpu" and weight.dtype == torch.float32 and packs():
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 2 * FEW_ROWS)
            if weight.numel() >= SMALL:
                self._plain = None

    @property
    def is_plain(self) -> bool:
        """Whether it uses the matrix that it was given, in no other order or form."""
        return self._int8 is None and self._packed is None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        if self._int8 is not None:
            return self._int8(x)
        rows = x.numel() // x.shape[-1]
        if self._plain is not None and (self._packed is None or rows < FEW_ROWS):
            return F.linear(x, self._plain, self._bias)
        more = rounded(rows) - rows
        flat = F.pad(x.reshape(rows, -1), (0, 0, 0, more)) if more else x
        found = torch.ops.mkldnn._linear_pointwise(flat, self._packed, self._bias, "none", [], "")
        return found[:rows].view(*x.shape[:-1], -1) if more else found

    def add_to(self, other: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """other + x·Wᵀ + b."""
        rows = x.numel() // x.shape[-1]
        if self._packed is None or (self._plain is not None and rows < FEW_ROWS) or rounded(rows) != rows:
            return other + self(x)
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._packed, self._bias, "add")


def rounded(rows: int) -> int:
    """How many rows are computed for `rows`. oneDNN compiles a kernel for each number of rows that it meets, which takes
    milliseconds and most of a megabyte; so there are few such numbers."""
    if rows <= 32:
        return 1 << (rows - 1).bit_length()
    step = 32 if rows <= 512 else 128
    return -(-rows // step) * step


def stacked(layers: Sequence[nn.Linear], weights: Weights) -> Linear:
    """Layers of the same input as one: their outputs follow each other.

    Where the joined matrix is used as it is, the layers' own weights become views of it: they are held once.
    """
    weight = torch.cat([layer.weight.detach() for layer in layers]) if len(layers) > 1 else layers[0].weight.detach()
    bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers])
    joined = Linear(weight, bias, weights)
    if len(layers) > 1 and joined.is_plain:
        for layer, part in zip(layers, weight.split([layer.weight.shape[0] for layer in layers]), strict=True):
            layer.weight.data = part
    return joined


def gated(both: torch.Tensor) -> torch.Tensor:
    """SiLU of the first half of each row times its second half: (…, 2 · size) to (…, size)."""
    if both.device.type == "cpu" and both.dtype == torch.float32 and both.numel() > FEW_NUMBERS:
        kernels = rowwise()
        if kernels is not None:
            return kernels.gate(both.contiguous())
    gate, up = both.chunk(2, -1)
    return F.silu(gate) * up


@functools.cache
def rowwise() -> Rowwise | None:
    """The kernels for norms and gates, where this machine has them."""
    try:
        from telechat.engine.rowwise import Rowwise  # numba takes half a second to import
    except ImportError:
        return None
    return Rowwise() if Rowwise.is_available() else None


class Norm:
    """x (…, hidden) / √(mean x² + ε) · w.

    On the CPU torch computes it in seven operations, which is a fifth of a small model's decode step; a kernel of our own
    takes one. Few numbers go faster by the layer norm of (x, −x), whose mean is 0 and whose variance is the mean of x².
    """

    def __init__(self, norm: Any) -> None:
        self._weight = norm.weight.detach()
        self._twice = torch.cat([self._weight, self._weight])
        self._eps: float = getattr(norm, "variance_epsilon", None) or norm.eps
        self._eps_number = torch.tensor([self._eps])
        on_cpu = self._weight.device.type == "cpu" and self._weight.dtype == torch.float32
        self._rowwise = rowwise() if on_cpu else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        size = x.shape[-1]
        if self._rowwise is not None and x.numel() > FEW_NUMBERS:
            return self._rowwise.norm(x.contiguous(), self._weight, self._eps_number)
        if x.is_cuda or x.numel() > FEW_NUMBERS:
            return F.rms_norm(x, (size,), self._weight, self._eps)
        return F.layer_norm(torch.cat([x, -x], -1), (2 * size,), self._twice, None, self._eps)[..., :size]
