"""Norms and gated activations on the CPU, each one pass over its rows: torch takes seven and two operations for them."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import torch
from numba import carray, njit

from telechat.engine.openmp import LOG2_E, LOWEST, MATH, compiled, pointer, power_of_two, thread_count, thread_number

PIECE = 512  # numbers that an activation is computed for at once, so that they stay in the first cache
ARGUMENTS = 7

f32 = np.float32
ZERO, HALF, ONE = f32(0), f32(0.5), f32(1)
MINUS_LOG2_E = f32(-LOG2_E)
HIGHEST = f32(126)
_Arguments = ctypes.c_int64 * ARGUMENTS


@njit(fastmath=MATH, error_model="numpy")
def norm_row(x, weight, eps, out):  # type: ignore[no-untyped-def]
    """out = x / √(mean x² + eps) · weight, each (size,)."""
    size = len(x)
    total = ZERO
    for i in range(size):
        total += x[i] * x[i]
    scale = f32(ONE / math.sqrt(total / f32(size) + eps))
    for i in range(size):
        out[i] = x[i] * scale * weight[i]


def _norms(data):  # type: ignore[no-untyped-def]
    """One thread's rows of x (rows, size)."""
    a = carray(data, (ARGUMENTS,), np.int64)
    rows, size = a[0], a[1]
    x = carray(pointer(a[2]), (rows, size), np.float32)
    weight = carray(pointer(a[3]), (size,), np.float32)
    eps = carray(pointer(a[4]), (1,), np.float32)[0]
    out = carray(pointer(a[5]), (rows, size), np.float32)
    me, threads = np.int64(thread_number()), np.int64(thread_count())
    for row in range(rows * me // threads, rows * (me + 1) // threads):
        norm_row(x[row], weight, eps, out[row])


@njit(fastmath=MATH, error_model="numpy")
def _gate(gate, up, out, exponents, powers):  # type: ignore[no-untyped-def]
    """out = gate / (1 + e^−gate) · up, each at most `PIECE` long; `powers` is the memory of `exponents` as floats."""
    size = len(out)
    for i in range(size):
        x = min(max(gate[i] * MINUS_LOG2_E, LOWEST), HIGHEST)
        whole = np.floor(x + HALF)
        out[i] = power_of_two(x - whole)
        exponents[i] = (np.int32(whole) + 127) << 23
    for i in range(size):
        out[i] = max(gate[i], LOWEST) / (ONE + out[i] * powers[i]) * up[i]  # below, the quotient is nothing


def _gates(data):  # type: ignore[no-untyped-def]
    """One thread's rows of gate and up side by side (rows, 2 · size)."""
    a = carray(data, (ARGUMENTS,), np.int64)
    rows, size = a[0], a[1]
    both = carray(pointer(a[2]), (rows, 2 * size), np.float32)
    out = carray(pointer(a[5]), (rows, size), np.float32)
    me, threads = np.int64(thread_number()), np.int64(thread_count())
    exponents = carray(pointer(a[6] + 4 * PIECE * me), (PIECE,), np.int32)
    powers = carray(pointer(a[6] + 4 * PIECE * me), (PIECE,), np.float32)
    for row in range(rows * me // threads, rows * (me + 1) // threads):
        for first in range(0, size, PIECE):
            last = min(first + PIECE, size)
            _gate(both[row, first:last], both[row, size + first : size + last], out[row, first:last], exponents, powers)


class Rowwise:
    """The two kernels, for contiguous float32 tensors on the CPU."""

    def __init__(self) -> None:
        norms, gates = compiled(_norms), compiled(_gates)
        if norms is None or gates is None:
            raise RuntimeError("no OpenMP library of torch's")
        self._norms, self._gates = norms, gates

    @staticmethod
    def is_available() -> bool:
        """Whether this machine's torch runs on an OpenMP library that others may use too."""
        return compiled(_norms) is not None and compiled(_gates) is not None

    def norm(self, x: torch.Tensor, weight: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """x (…, size) / √(mean x² + eps) · weight; eps (1,)."""
        out, size = torch.empty_like(x), x.shape[-1]
        sizes = x.numel() // size, size
        self._norms(
            _Arguments(*sizes, x.data_ptr(), weight.data_ptr(), eps.data_ptr(), out.data_ptr()), torch.get_num_threads()
        )
        return out

    def gate(self, both: torch.Tensor) -> torch.Tensor:
        """SiLU of the first half of each row times its second half: (…, 2 · size) to (…, size)."""
        size, threads = both.shape[-1] // 2, torch.get_num_threads()
        scratch = torch.empty(PIECE * threads)
        out = both.new_empty(*both.shape[:-1], size)
        addresses = both.data_ptr(), 0, 0, out.data_ptr(), scratch.data_ptr()
        self._gates(_Arguments(out.numel() // size, size, *addresses), threads)
        return out
