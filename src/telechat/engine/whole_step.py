"""A whole decode step of few rows on the CPU as one call: every layer, from the embedding to the logits.

With one row a step reads each weight once and computes next to nothing, so that it should take as long as the reading;
but torch's products read at a half of the memory's speed, and on small models twenty operations a layer take longer
than all reading. Here torch's own threads walk through the layers together, each with its share of every matrix's
rows, and meet five times a layer. The matrices are the model's own, nothing is copied; or they are kept in eight bits,
with one scale for each row of a matrix, and read in half of the time.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import carray, njit

from telechat.engine.attention import ROW_COST, attend, scratch_size
from telechat.engine.openmp import MATH, compiled, meet, pointer, thread_count, thread_number
from telechat.engine.rowwise import norm_row

if TYPE_CHECKING:
    from telechat.engine.runner import Runner

ARGUMENTS = 24
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
OF_A_LAYER = 3 * len(MATRICES) + 3
"""Addresses of one layer: of each matrix its numbers, its biases (0 for none) and its scales (0 unless it is kept in eight
bits); two norms; keys and values."""
NORM_1, NORM_2, CACHE = 21, 22, 23

MOST_ROWS, MOST_ROWS_INT8, MOST_ROWS_SMALL = 16, 8, 64  # beyond them torch's products are faster (`docs/log.md`) …
SMALL = 2**22  # … the last of them for models of so many numbers in their matrices
TILE = 16  # rows of a matrix that stay in the cache while all rows of the batch pass

f32 = np.float32
ZERO, ONE = f32(0), f32(1)


@njit(fastmath=MATH, error_model="numpy")
def _one(w, first, last, x, out):  # type: ignore[no-untyped-def]
    """out[o] = w[o] · x for `first` ≤ o < `last`: one stream of memory, which is read at its full speed."""
    size = len(x)
    for o in range(first, last):
        a = ZERO
        for i in range(size):
            a += f32(w[o, i]) * x[i]
        out[o] = a


@njit(fastmath=MATH, error_model="numpy")
def _four(w, first, last, x, out):  # type: ignore[no-untyped-def]
    """out[r, o] = w[o] · x[r] for four rows r."""
    size = x.shape[1]
    for o in range(first, last):
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        for i in range(size):
            p = f32(w[o, i])
            a += p * x[0, i]
            b += p * x[1, i]
            c += p * x[2, i]
            d += p * x[3, i]
        out[0, o], out[1, o], out[2, o], out[3, o] = a, b, c, d


@njit(error_model="numpy")
def _all_rows(matrix, x, out, first, last):  # type: ignore[no-untyped-def]
    """out[r, o] = matrix[o] · x[r] for `first` ≤ o < `last`."""
    rows = x.shape[0]
    for tile in range(first, last, TILE):
        end = min(tile + TILE, last)
        r = 0
        while r + 4 <= rows:
            _four(matrix, tile, end, x[r : r + 4], out[r : r + 4])
            r += 4
        while r < rows:
            _one(matrix, tile, end, x[r], out[r])
            r += 1


@njit(fastmath=MATH, error_model="numpy")
def _product(w, bias, scale, outputs, x, out, first, last):  # type: ignore[no-untyped-def]
    """out[r, o] = w[o] · x[r] (· scale[o]) + bias[o] for this thread's outputs `first` ≤ o < `last`; `w`, `bias` and
    `scale` are addresses."""
    rows, size = x.shape
    if scale:
        _all_rows(carray(pointer(w), (outputs, size), np.int8), x, out, first, last)
        factors = carray(pointer(scale), (outputs,), np.float32)
        for r in range(rows):
            for o in range(first, last):
                out[r, o] *= factors[o]
    else:
        _all_rows(carray(pointer(w), (outputs, size), np.float32), x, out, first, last)
    if bias:
        added = carray(pointer(bias), (outputs,), np.float32)
        for r in range(rows):
            for o in range(first, last):
                out[r, o] += added[o]


@njit(error_model="numpy")
def _part(count, me, threads):  # type: ignore[no-untyped-def]
    """The share of `count` outputs of thread `me`."""
    return count * me // threads, count * (me + 1) // threads


@njit(error_model="numpy")
def _apply(layer, number, outputs, x, out, me, threads):  # type: ignore[no-untyped-def]
    """This thread's share of the product with the matrix `number` of a layer."""
    first, last = _part(outputs, me, threads)
    _product(layer[number], layer[7 + number], layer[14 + number], outputs, x, out, first, last)


@njit(error_model="numpy")
def _norms(x, address, eps, out):  # type: ignore[no-untyped-def]
    """Each row of x, normed; the weight is at `address`."""
    weight = carray(pointer(address), (x.shape[1],), np.float32)
    for r in range(x.shape[0]):
        norm_row(x[r], weight, eps, out[r])


@njit(error_model="numpy")
def _before(layer, normed, qkv, kv_width, me, threads):  # type: ignore[no-untyped-def]
    """Queries, keys and values of all rows: qkv (rows, heads · dim + 2 · kv_width)."""
    width = qkv.shape[1] - 2 * kv_width
    _apply(layer, 0, width, normed, qkv[:, :width], me, threads)
    _apply(layer, 1, kv_width, normed, qkv[:, width : width + kv_width], me, threads)
    _apply(layer, 2, kv_width, normed, qkv[:, width + kv_width :], me, threads)


@njit(fastmath=MATH, error_model="numpy")
def _gated(gate, up, first, last):  # type: ignore[no-untyped-def]
    """gate becomes SiLU(gate) · up."""
    for r in range(gate.shape[0]):
        for i in range(first, last):
            x = gate[r, i]
            gate[r, i] = x / (ONE + f32(math.exp(-x))) * up[r, i]


@njit(error_model="numpy")
def _feed_forward(layer, normed, gate, up, me, threads):  # type: ignore[no-untyped-def]
    """gate becomes the gated activations (rows, inner)."""
    inner = gate.shape[1]
    _apply(layer, 4, inner, normed, gate, me, threads)
    _apply(layer, 5, inner, normed, up, me, threads)
    first, last = _part(inner, me, threads)
    _gated(gate, up, first, last)


@njit(error_model="numpy")
def _add(layer, number, y, more, x, me, threads):  # type: ignore[no-untyped-def]
    """x += the product of y with the matrix `number` of a layer; `more` is room for it."""
    hidden = x.shape[1]
    _apply(layer, number, hidden, y, more, me, threads)
    first, last = _part(hidden, me, threads)
    for r in range(x.shape[0]):
        for o in range(first, last):
            x[r, o] += more[r, o]


def _entry(data):  # type: ignore[no-untyped-def]
    """What each of OpenMP's threads runs; `data` has the sizes and addresses of `WholeStep.__call__`."""
    a = carray(data, (ARGUMENTS,), np.int64)
    rows, heads, kv_heads, dim = a[0], a[1], a[2], a[3]
    hidden, inner, layers, vocabulary, positions = a[4], a[5], a[6], a[7], a[8]
    me, threads = np.int64(thread_number()), np.int64(thread_count())
    width, kv_width = heads * dim, kv_heads * dim
    x = carray(pointer(a[9]), (rows, hidden), np.float32)
    table = carray(pointer(a[10]), (layers, OF_A_LAYER), np.int64)
    cos = carray(pointer(a[11]), (positions, dim), np.float32)
    sin = carray(pointer(a[12]), (positions, dim), np.float32)
    lengths = carray(pointer(a[13]), (rows,), np.int64)
    eps = carray(pointer(a[14]), (1,), np.float32)[0]
    logits = carray(pointer(a[19]), (rows, vocabulary), np.float32)
    room = a[20]
    normed = carray(pointer(room + 4 * me * rows * hidden), (rows, hidden), np.float32)  # each thread has its own
    room += 4 * threads * rows * hidden
    more = carray(pointer(room), (rows, hidden), np.float32)
    room += 4 * rows * hidden
    qkv = carray(pointer(room), (rows, width + 2 * kv_width), np.float32)
    asked = carray(pointer(room), (rows, heads + 2 * kv_heads, dim), np.float32)  # the same, by heads
    room += 4 * rows * (width + 2 * kv_width)
    attended = carray(pointer(room), (rows, width), np.float32)
    heard = carray(pointer(room), (rows, heads, dim), np.float32)
    room += 4 * rows * width
    gate = carray(pointer(room), (rows, inner), np.float32)
    room += 4 * rows * inner
    up = carray(pointer(room), (rows, inner), np.float32)
    room += 4 * rows * inner
    scratch = room + 4 * me * scratch_size(heads // kv_heads, positions, dim)
    work = 0
    for row in range(rows):
        work += kv_heads * (lengths[row] + ROW_COST)
    begin, end = _part(work, me, threads)
    for number in range(layers):
        layer = table[number]
        _norms(x, layer[NORM_1], eps, normed)
        _before(layer, normed, qkv, kv_width, me, threads)
        meet()
        cache = carray(pointer(layer[CACHE]), (rows, 2 * kv_heads, positions, dim), np.float32)
        attend(asked, cache, cos, sin, lengths, heard, begin, end, scratch)
        meet()
        _add(layer, 3, attended, more, x, me, threads)
        meet()
        _norms(x, layer[NORM_2], eps, normed)
        _feed_forward(layer, normed, gate, up, me, threads)
        meet()
        _add(layer, 6, gate, more, x, me, threads)
        meet()
    _norms(x, a[15], eps, normed)
    first, last = _part(vocabulary, me, threads)
    _product(a[16], a[17], a[18], vocabulary, normed, logits, first, last)


def _one_entry(data):  # type: ignore[no-untyped-def]
    """One product: rows, outputs, inputs, and the addresses of x, w and what comes out."""
    a = carray(data, (6,), np.int64)
    rows, outputs, size = a[0], a[1], a[2]
    x = carray(pointer(a[3]), (rows, size), np.float32)
    out = carray(pointer(a[5]), (rows, outputs), np.float32)
    first, last = _part(outputs, np.int64(thread_number()), np.int64(thread_count()))
    _product(a[4], 0, 0, outputs, x, out, first, last)


def one_product() -> Callable[[Any, int], None] | None:
    """A function of (arguments of `_one_entry`, threads), for those who measure; None where `WholeStep` is not available."""
    return compiled(_one_entry)


class WholeStep:
    """The step of `runner`'s model for at most `most_rows` rows."""

    def __init__(self, runner: Runner) -> None:
        run = compiled(_entry)
        if run is None:
            raise RuntimeError("no OpenMP library of torch's")
        self._run = run
        self._runner = weakref.proxy(runner)  # which owns this: a cycle would keep its slots until the collector comes
        self._arguments = (ctypes.c_int64 * ARGUMENTS)()
        self._room = torch.empty(0)
        self._layers: list[list[int]] = []  # the addresses of each layer's weights; none known: they have to be looked up
        self._kept: list[torch.Tensor] = []  # what lies there
        self._table: torch.Tensor | None = None  # the same with each layer's keys and values
        numbers = sum(p.numel() for p in runner.model.model.layers.parameters())
        many = MOST_ROWS_INT8 if runner.weights == "int8" else MOST_ROWS
        self.most_rows = MOST_ROWS_SMALL if numbers <= SMALL else many

    @staticmethod
    def is_available() -> bool:
        """Whether this machine's torch runs on an OpenMP library that others may use too."""
        return compiled(_entry) is not None

    def forget_slots(self) -> None:
        """Keys and values lie elsewhere now."""
        self._table = None

    def forget_weights(self) -> None:
        """The weights are others."""
        self._layers, self._kept, self._table = [], [], None

    def _address(self, tensor: torch.Tensor | None) -> int:
        if tensor is None:
            return 0
        held = tensor.detach().contiguous()
        self._kept.append(held)
        return held.data_ptr()

    def _matrix(self, layer: Any) -> list[int]:
        """The addresses of a linear layer's numbers, biases and scales."""
        weight, bias = layer.weight.detach(), self._address(layer.bias)
        if self._runner.weights != "int8":
            return [self._address(weight), bias, 0]
        scales = weight.abs().amax(1).clamp_min(1e-12) / 127
        small = (weight / scales[:, None]).round().to(torch.int8)
        return [self._address(small), bias, self._address(scales)]

    def _layer(self, layer: Any) -> list[int]:
        parts = [self._matrix(getattr(layer.self_attn, name, None) or getattr(layer.mlp, name)) for name in MATRICES]
        norms = [self._address(norm.weight) for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
        return [*(address for kind in zip(*parts, strict=True) for address in kind), *norms]

    def _read_weights(self) -> None:
        """Note where the weights lie, and the sizes that follow from them."""
        runner, model, head = self._runner, self._runner.model.model, self._runner.model.lm_head
        self._layers = [self._layer(layer) for layer in model.layers]
        hidden, inner = model.layers[0].mlp.down_proj.weight.shape
        eps = torch.tensor([getattr(model.norm, "variance_epsilon", None) or model.norm.eps])
        sizes = [runner.heads, runner.kv_heads, runner.head_dim, hidden, inner, len(self._layers), len(head.weight)]
        self._arguments[1:8] = sizes
        self._arguments[14:19] = [self._address(eps), self._address(model.norm.weight), *self._matrix(head)]

    def _tabulate(self) -> torch.Tensor:
        """The addresses of all layers."""
        if not self._layers:
            self._read_weights()
        runner = self._runner
        rows = zip(self._layers, runner.kv, strict=True)
        table = torch.tensor([[*weights, cache.data_ptr()] for weights, cache in rows])
        self._arguments[8] = runner.max_len
        self._arguments[10:13] = [tensor.data_ptr() for tensor in (table, runner.cos, runner.sin)]
        return table

    def __call__(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """One token in each of the first slots, `ids` (rows,) behind `lengths` (rows,) positions: logits (rows, vocabulary)."""
        if self._table is None:
            self._table = self._tabulate()
        _, heads, kv_heads, dim, hidden, inner, _, vocabulary, positions = self._arguments[:9]
        rows, threads = len(ids), torch.get_num_threads()
        each = (threads + 1) * hidden + (2 * heads + 2 * kv_heads) * dim + 2 * inner
        needed = rows * each + threads * scratch_size.py_func(heads // kv_heads, positions, dim)
        if len(self._room) < needed:
            self._room = torch.empty(needed)
        x = F.embedding(ids, self._runner.embedding)
        logits = torch.empty(rows, vocabulary)
        self._arguments[0], self._arguments[9], self._arguments[13] = rows, x.data_ptr(), lengths.data_ptr()
        self._arguments[19:21] = [logits.data_ptr(), self._room.data_ptr()]
        self._run(self._arguments, threads)
        return logits
