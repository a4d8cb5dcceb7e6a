"""Attention of one new token a row on the CPU, with everything around it: rotation, writing keys and values, reading all.

torch's kernel for one query a row reads keys and values at a third to an eighth of the memory's speed, behind six small
operations that prepare its inputs. Here one pass does all of it, compiled by numba and run by the threads that torch
already has (OpenMP's, so that no second set of threads competes for the cores). Every row and head is computed alone: its
result does not depend on the batch.
"""

from __future__ import annotations

import ctypes
import math

import numpy as np
import torch
from numba import carray, njit

from telechat.engine.openmp import LOG2_E, LOWEST, MATH, compiled, pointer, power_of_two, thread_count, thread_number

ROW_COST = 8  # a row's own work, in positions, where the work is split between threads
ARGUMENTS = 12

f32 = np.float32
ZERO, HALF, ONE = f32(0), f32(0.5), f32(1)


@njit(fastmath=MATH, error_model="numpy")
def _turn(x, cos, sin, scale, out):  # type: ignore[no-untyped-def]
    """out = scale · (x turned by the angles of `cos` and signed `sin`), each (dim,)."""
    half = len(x) // 2
    for i in range(half):
        a, b = x[i], x[half + i]
        out[i] = (a * cos[i] + b * sin[i]) * scale
        out[half + i] = (b * cos[half + i] + a * sin[half + i]) * scale


@njit(fastmath=MATH, error_model="numpy")
def _scores(q, keys, length, scores):  # type: ignore[no-untyped-def]
    """scores[g, p] = q[g] · keys[p] for `length` positions; four at a time, so that q is read once for them."""
    group, dim = q.shape
    p = 0
    while p + 4 <= length:
        for g in range(group):
            w, x, y, z = ZERO, ZERO, ZERO, ZERO
            for i in range(dim):
                w += q[g, i] * keys[p, i]
                x += q[g, i] * keys[p + 1, i]
                y += q[g, i] * keys[p + 2, i]
                z += q[g, i] * keys[p + 3, i]
            scores[g, p], scores[g, p + 1], scores[g, p + 2], scores[g, p + 3] = w, x, y, z
        p += 4
    while p < length:
        for g in range(group):
            x = ZERO
            for i in range(dim):
                x += q[g, i] * keys[p, i]
            scores[g, p] = x
        p += 1


@njit(fastmath=MATH | {"nnan"}, error_model="numpy")
def _top(scores, length):  # type: ignore[no-untyped-def]
    """The largest of the first `length` scores."""
    top = scores[0]
    for p in range(1, length):
        top = max(top, scores[p])
    return top


@njit(fastmath=MATH, error_model="numpy")
def _weigh(scores, length, top, exponents, powers):  # type: ignore[no-untyped-def]
    """scores[p] becomes 2^(scores[p] − top); returns their sum. `powers` is the memory of `exponents` as floats."""
    for p in range(length):
        x = max(scores[p] - top, LOWEST)
        whole = np.floor(x + HALF)
        scores[p] = power_of_two(x - whole)
        exponents[p] = (np.int32(whole) + 127) << 23
    total = ZERO
    for p in range(length):
        x = scores[p] * powers[p]
        scores[p] = x
        total += x
    return total


@njit(fastmath=MATH, error_model="numpy")
def _sum(weights, values, length, scale, out):  # type: ignore[no-untyped-def]
    """out = scale · Σ weights[p] · values[p]."""
    dim = len(out)
    for i in range(dim):
        out[i] = ZERO
    p = 0
    while p + 4 <= length:
        w, x, y, z = weights[p], weights[p + 1], weights[p + 2], weights[p + 3]
        for i in range(dim):
            out[i] += w * values[p, i] + x * values[p + 1, i] + y * values[p + 2, i] + z * values[p + 3, i]
        p += 4
    while p < length:
        w = weights[p]
        for i in range(dim):
            out[i] += w * values[p, i]
        p += 1
    for i in range(dim):
        out[i] *= scale


@njit(error_model="numpy")
def attend(qkv, cache, cos, sin, lengths, out, first, last, scratch):  # type: ignore[no-untyped-def]
    """The rows and heads whose work lies between `first` and `last`, counted in positions.

    qkv (rows, heads + 2 · kv_heads, dim), cache (rows, 2 · kv_heads, positions, dim), cos and sin (positions, dim),
    lengths (rows,), out (rows, heads, dim).
    """
    rows, heads, dim = out.shape
    kv_heads, positions = cache.shape[1] // 2, cache.shape[2]
    group = heads // kv_heads
    scale = f32(LOG2_E / math.sqrt(dim))
    scores = carray(pointer(scratch), (group, positions), np.float32)
    q = carray(pointer(scratch + 4 * group * positions), (group, dim), np.float32)
    exponents = carray(pointer(scratch + 4 * group * (positions + dim)), (positions,), np.int32)
    powers = carray(pointer(scratch + 4 * group * (positions + dim)), (positions,), np.float32)
    done = 0
    for row in range(rows):
        at = min(lengths[row], positions - 1)  # a row that is over may be counted on
        turn_cos, turn_sin = cos[at], sin[at]
        for head in range(kv_heads):
            if first <= done < last:
                keys, values = cache[row, head], cache[row, kv_heads + head]
                _turn(qkv[row, heads + head], turn_cos, turn_sin, ONE, keys[at])
                for i in range(dim):
                    values[at, i] = qkv[row, heads + kv_heads + head, i]
                for g in range(group):
                    _turn(qkv[row, head * group + g], turn_cos, turn_sin, scale, q[g])
                _scores(q, keys, at + 1, scores)
                for g in range(group):
                    total = _weigh(scores[g], at + 1, _top(scores[g], at + 1), exponents, powers)
                    _sum(scores[g], values, at + 1, ONE / total, out[row, head * group + g])
            done += at + ROW_COST


def _entry(data):  # type: ignore[no-untyped-def]
    """What each of OpenMP's threads runs: its share of the work that `data`, the addresses and sizes, describes."""
    a = carray(data, (ARGUMENTS,), np.int64)
    rows, heads, kv_heads, positions, dim = a[0], a[1], a[2], a[3], a[4]
    qkv = carray(pointer(a[5]), (rows, heads + 2 * kv_heads, dim), np.float32)
    cache = carray(pointer(a[6]), (rows, 2 * kv_heads, positions, dim), np.float32)
    cos = carray(pointer(a[7]), (positions, dim), np.float32)
    sin = carray(pointer(a[8]), (positions, dim), np.float32)
    lengths = carray(pointer(a[9]), (rows,), np.int64)
    out = carray(pointer(a[10]), (rows, heads, dim), np.float32)
    work = 0
    for row in range(rows):
        work += kv_heads * (lengths[row] + ROW_COST)
    me, threads = np.int64(thread_number()), np.int64(thread_count())
    scratch = a[11] + 4 * me * scratch_size(heads // kv_heads, positions, dim)
    attend(qkv, cache, cos, sin, lengths, out, work * me // threads, work * (me + 1) // threads, scratch)


@njit
def scratch_size(group, positions, dim):  # type: ignore[no-untyped-def]
    """How many numbers one thread needs room for."""
    return group * (positions + dim) + positions


class DecodeAttention:
    """The attention of `heads` queries over `kv_heads` keys and values of `dim` numbers, for one new token a row."""

    def __init__(self, heads: int, kv_heads: int, dim: int) -> None:
        run = compiled(_entry)
        if run is None:
            raise RuntimeError("no OpenMP library of torch's")
        self._run = run
        self._sizes = heads, kv_heads, dim
        self._scratch = torch.empty(0)
        self._arguments = (ctypes.c_int64 * ARGUMENTS)()

    @staticmethod
    def is_available() -> bool:
        """Whether this machine's torch runs on an OpenMP library that others may use too."""
        return compiled(_entry) is not None

    def __call__(
        self, qkv: torch.Tensor, cache: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Turn the new token's queries and keys, write its keys and values into `cache`, and attend: (rows, heads · dim).

        qkv (rows, heads + 2 · kv_heads, dim), not turned; cache (rows, 2 · kv_heads, positions, dim): keys, behind them
        values; cos and signed sin (positions, dim); lengths (rows,): where the token stands. All contiguous.
        """
        heads, kv_heads, dim = self._sizes
        rows, positions, threads = len(lengths), cache.shape[2], torch.get_num_threads()
        needed = threads * scratch_size.py_func(heads // kv_heads, positions, dim)
        if len(self._scratch) < needed:
            self._scratch = torch.empty(needed)
        out = torch.empty(rows, heads * dim)
        tensors = (qkv, cache, cos, sin, lengths, out, self._scratch)
        self._arguments[:] = [rows, heads, kv_heads, positions, dim, *(tensor.data_ptr() for tensor in tensors)]
        self._run(self._arguments, threads)
        return out
