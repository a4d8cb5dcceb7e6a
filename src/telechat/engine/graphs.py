"""CUDA graphs of decode steps: all kernels of a step are launched at once.

A step of one token a row is some fifteen kernels a layer, most of them shorter than their launch. A graph fixes every
shape and address, so rows and positions are rounded up to few sizes. Rows that nobody uses write to a slot that nobody
has; what they read and compute is thrown away.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from telechat.engine.runner import Runner, after_attention

MOST_ROWS = 128  # beyond, kernels take longer than their launch, and rows attend in blocks of their own length
SHORTEST = 128  # positions; longer sizes are an eighth apart
MOST_GRAPHS = 64  # those used longest ago are dropped


def rounded_rows(rows: int) -> int:
    """The number of rows that is computed for `rows`: 1, 2, 4, 8, 16, 24, 32, …"""
    return 1 << (rows - 1).bit_length() if rows <= 8 else -(-rows // 8) * 8


def rounded_positions(positions: int) -> int:
    """The number of positions that is attended to for `positions`: at most an eighth more, or `SHORTEST` of them."""
    unit = max(SHORTEST, 1 << max(0, (positions - 1).bit_length() - 4))
    return -(-positions // unit) * unit


@dataclass
class _Step:
    """A decode step of fixed shape: what it reads, and once it is captured, the graph and the logits that it writes."""

    inputs: torch.Tensor  # (3, rows): tokens, how many positions each row has, and the slot that it writes to
    captured: tuple[torch.cuda.CUDAGraph, torch.Tensor] | None = None


class DecodeGraphs:
    """The decode steps of one runner. Everything held here is void when its weights or its slots move: `clear`."""

    most_rows = MOST_ROWS

    def __init__(self, runner: Runner) -> None:
        self._runner = weakref.proxy(runner)  # which owns this: a cycle would keep its slots until the collector comes
        self._steps: OrderedDict[tuple[int, int], _Step] = OrderedDict()
        self._pool: Any = None  # memory that all graphs share

    def clear(self) -> None:
        """Forget all graphs, and give their memory back."""
        self._steps.clear()
        self._pool = None

    def decode(self, tokens: Sequence[int], lengths: Sequence[int]) -> torch.Tensor:
        """`Runner.decode`: logits (rows, vocabulary), good until the next call.

        A shape runs as it is the first time, which also has libraries prepare themselves, and is captured the second.
        """
        runner, count = self._runner, len(tokens)
        rows = min(rounded_rows(count), runner.rows)
        end = min(rounded_positions(max(lengths) + 1), runner.max_len)
        idle = [0] * (rows - count)
        inputs = torch.tensor([[*tokens, *idle], [*lengths, *idle], [*range(count), *(runner.rows for _ in idle)]])
        step = self._steps.get((rows, end))
        if step is None:
            step = self._steps[rows, end] = _Step(inputs.to(runner.device))
            if len(self._steps) > MOST_GRAPHS:
                self._steps.popitem(last=False)
            return self.step(step.inputs, end)[:count]
        self._steps.move_to_end((rows, end))
        step.inputs.copy_(inputs)
        if step.captured is None:
            step.captured = self._capture(step.inputs, end)
        graph, logits = step.captured
        graph.replay()
        return logits[:count]

    def _capture(self, inputs: torch.Tensor, end: int) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        """Record the step; nothing is computed yet."""
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            logits = self.step(inputs, end)
        return graph, logits

    @torch.no_grad()
    def step(self, inputs: torch.Tensor, end: int) -> torch.Tensor:
        """One token in each of the first rows, as a fixed row of kernels: logits (rows, vocabulary).

        `inputs` (3, rows) as in `_Step`; rows attend to `end` positions at most.
        """
        runner = self._runner
        ids, start, slots = inputs
        rows, where = len(ids), start[:, None]  # (rows, 1)
        cos, sin = runner.turns(where)
        unseen = torch.arange(end, device=inputs.device) > where
        x = F.embedding(ids[:, None], runner.embedding)  # (rows, 1, hidden)
        mask = x.new_zeros(rows, end).masked_fill_(unseen, -torch.inf)[:, None, None]  # (rows, 1, 1, end)
        # Query heads that share keys stand in line as positions: the fast kernels take no mask with fewer heads of keys.
        in_line = (rows, runner.kv_heads, runner.heads // runner.kv_heads, runner.head_dim)
        for layer, cache in zip(runner.layers, runner.kv, strict=True):
            q, kv = runner.qkv(x, layer, cos, sin)
            cache[slots[:, None], :, where] = kv
            k, v = cache[:rows, :, :end].chunk(2, 1)
            attended = F.scaled_dot_product_attention(q.reshape(in_line), k, v, mask)
            x = after_attention(x, attended.reshape(rows, 1, -1), layer)
        return runner.head(runner.norm(x[:, 0]))
