"""The roofline of `telechat bench serve`: what no step on this machine can be faster than.

    decode step ≥ max(weight bytes / bandwidth, 2 · parameters · batch / GEMM rate(batch)) + KV bytes / bandwidth
    prefill     ≥ 2 · parameters · tokens / GEMM rate(tokens)

Both rates are measured: the bandwidth by summing, the GEMM rate by the model's own matrices one after the other, as a
step uses them, in the fastest of three ways (`F.linear`, oneDNN with weights in its own order, and the engine's kernel
for few rows). A share above 1 would mean that there is a faster way still.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from telechat.engine.linear import Linear

FEW = 64  # rows up to which the kernel for few rows is tried


@dataclass(frozen=True)
class Sizes:
    """A decoder's sizes."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int

    @property
    def kv_width(self) -> int:
        """Numbers of one position's keys (and of its values) in one layer."""
        return self.kv_heads * (self.hidden // self.heads)


def seconds(call: Callable[[], Any]) -> float:
    """How long `call` takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def bandwidth(megabytes: int = 512) -> float:
    """Bytes a second that this machine reads from memory, the best of five."""
    data = torch.ones(megabytes * 2**18)
    return data.numel() * 4 / min(seconds(lambda: data.sum()) for _ in range(5))


def gemm_rate(sizes: Sizes, rows: int) -> float:
    """Floating point operations a second of all of a model's matrices with `rows` rows, the best of six."""
    hidden, inner = sizes.hidden, sizes.intermediate
    shapes = [(hidden, hidden + 2 * sizes.kv_width), (hidden, hidden), (hidden, 2 * inner), (inner, hidden)]
    matrices = [torch.randn(o, i) for _ in range(sizes.layers) for i, o in shapes] + [torch.randn(sizes.vocabulary, hidden)]
    inputs = {i: torch.randn(rows, i) for i in (hidden, inner)}
    packed = [Linear(matrix) for matrix in matrices]

    def by_torch() -> None:
        for matrix in matrices:
            F.linear(inputs[matrix.shape[1]], matrix)

    def by_onednn() -> None:
        for matrix, layer in zip(matrices, packed, strict=True):
            layer(inputs[matrix.shape[1]])

    kernel = _few_rows() if rows <= FEW else None

    def by_kernel() -> None:
        for matrix in matrices:
            if kernel is not None:
                kernel(inputs[matrix.shape[1]], matrix)

    ways = [by_torch, by_onednn, *([by_kernel] if kernel else [])]
    best = min(seconds(way) for _ in range(6) for way in ways)
    return 2 * rows * sum(m.numel() for m in matrices) / best


def _few_rows() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
    """x·Wᵀ by the engine's kernel for few rows, where this machine has it."""
    try:
        from telechat.engine.whole_step import one_product
    except ImportError:
        return None
    run = one_product()
    if run is None:
        return None

    def product(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        out = torch.empty(len(x), len(w))
        arguments = (ctypes.c_int64 * 6)(len(x), *w.shape, x.data_ptr(), w.data_ptr(), out.data_ptr())
        run(arguments, torch.get_num_threads())
        return out

    return product


def roofline(sizes: Sizes, parameters: int, count: int, prompt: int, answer: int, read: float) -> tuple[float, float]:
    """Seconds that a decode step of `count` rows, in the middle of an answer, and their prefill take at least."""
    kept = 2 * sizes.layers * sizes.kv_width * 4 * (prompt + answer / 2) * count
    step = max(4 * parameters / read, 2 * parameters * count / gemm_rate(sizes, count)) + kept / read
    tokens = count * prompt
    matrices = parameters - sizes.vocabulary * sizes.hidden  # the output layer sees the last token of each prompt only
    return step, 2 * matrices * tokens / gemm_rate(sizes, min(tokens, 4096))
