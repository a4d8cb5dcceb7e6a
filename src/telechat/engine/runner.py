"""Weights and KV slots: one forward over a batch of rows, for any Llama-like decoder of transformers.

The weights that a decode step reads together are stored together (q, k, v in one matrix; gate and up in one), and
keys and values live in slots allocated once, so that a step allocates no cache and launches few operations: on small
models those are most of its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from telechat.core.errors import UserError
from telechat.engine.linear import Norm, Weights, gated, stacked
from telechat.models.configuration import context_of

if TYPE_CHECKING:
    from telechat.engine.attention import DecodeAttention
    from telechat.engine.graphs import DecodeGraphs
    from telechat.engine.whole_step import WholeStep

BLOCK = 64  # rows that attend together: to as many positions as the longest of them has


class _Layer:
    """The weights of one decoder layer; those that are read together are one matrix."""

    def __init__(self, layer: Any, weights: Weights) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv = stacked([attention.q_proj, attention.k_proj, attention.v_proj], weights)
        self.out = stacked([attention.o_proj], weights)
        self.gate_up = stacked([mlp.gate_proj, mlp.up_proj], weights)
        self.down = stacked([mlp.down_proj], weights)
        self.norm1 = Norm(layer.input_layernorm)
        self.norm2 = Norm(layer.post_attention_layernorm)


def _attend(q: torch.Tensor, kv: torch.Tensor, mask: torch.Tensor | None, ends: Sequence[int]) -> torch.Tensor:
    """Attention of q (rows, heads, time, dim) to keys and values (rows, 2 · kv_heads, end, dim), causal without a mask;
    block by block where rows are of different lengths."""
    k, v = kv.chunk(2, 1)
    if mask is None or len(ends) < 2:
        return _attend_block(q, k, v, mask)
    parts = []
    for number, end in enumerate(ends):
        mine = slice(number * BLOCK, (number + 1) * BLOCK)
        parts.append(_attend_block(q[mine], k[mine, :, :end], v[mine, :, :end], mask[mine, ..., :end]))
    return torch.cat(parts)


def _attend_block(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """`_attend` of rows that all see `mask` (rows, 1, time, end)."""
    if q.is_cuda and (mask is not None or q.shape[2] == 1) and q.shape[1] != k.shape[1]:
        # CUDA's fast kernels take no mask together with fewer heads of keys than of queries. The query heads that share
        # keys stand in line as positions instead, so that those keys are also read once only.
        rows, heads, time, dim = q.shape
        group = heads // k.shape[1]
        in_line = q.reshape(rows, k.shape[1], group * time, dim)
        if mask is not None:
            mask = mask[:, :, None].expand(-1, -1, group, -1, -1).flatten(2, 3)
        return F.scaled_dot_product_attention(in_line, k, v, mask).reshape(q.shape)
    causal = mask is None and q.shape[2] > 1
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=True)


def after_attention(x: torch.Tensor, attended: torch.Tensor, layer: _Layer) -> torch.Tensor:
    """The rest of a layer behind its attention, all (rows, time, hidden)."""
    x = layer.out.add_to(x, attended)
    return layer.down.add_to(x, gated(layer.gate_up(layer.norm2(x))))


def _is_llama_like(layer: Any, config: Any) -> bool:
    """Whether a decoder layer is what `Runner.forward` computes: anything more would be left out silently."""
    parts = {
        "": {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"},
        "self_attn": {"q_proj", "k_proj", "v_proj", "o_proj"},
        "mlp": {"gate_proj", "up_proj", "down_proj"},
    }
    for name, expected in parts.items():
        part = getattr(layer, name, None) if name else layer
        found = {child for child, module in part.named_children() if list(module.parameters())} if part is not None else set()
        if found != expected:
            return False
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return getattr(config, "hidden_act", "silu") in ("silu", "swish") and not slides


def _decode_attention(runner: Runner) -> DecodeAttention | None:
    """The kernel for one new token a row, where this model and this machine have one."""
    if runner.device.type != "cpu" or runner.dtype != torch.float32:
        return None
    try:
        from telechat.engine.attention import DecodeAttention  # numba takes half a second to import
    except ImportError:
        return None
    if not DecodeAttention.is_available():
        return None
    return DecodeAttention(runner.heads, runner.kv_heads, runner.head_dim)


def _whole_step(runner: Runner) -> WholeStep | None:
    """The kernel for a whole step of few rows, where this model and this machine have one."""
    if any(parameter.dtype != torch.float32 for parameter in runner.model.parameters()):
        return None
    from telechat.engine.whole_step import WholeStep

    return WholeStep(runner)


def _decode_graphs(runner: Runner) -> DecodeGraphs | None:
    """Captured decode steps, where the device has such."""
    if runner.device.type != "cuda":
        return None
    from telechat.engine.graphs import DecodeGraphs

    return DecodeGraphs(runner)


class Runner:
    """A model's weights laid out for generation, and KV slots of `max_len` positions."""

    def __init__(self, model: Any, weights: Weights = "own") -> None:
        config = model.config
        first = model.model.layers[0] if getattr(getattr(model, "model", None), "layers", None) else None
        if first is None or not _is_llama_like(first, config):
            raise UserError(f"{type(model).__name__}: the embedded engine runs Llama-like decoders only")
        self.model = model
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim: int = first.self_attn.head_dim
        self.max_positions = context_of(config)
        self.device: torch.device = model.lm_head.weight.device
        self.dtype: torch.dtype = model.lm_head.weight.dtype
        self.weights = weights
        self.kv: list[torch.Tensor] = []  # a layer's (rows, 2 · kv_heads, positions, dim): keys, behind them values
        self.rows = self.max_len = 0
        self.cos = self.sin = torch.empty(0)
        self._decode_attention = _decode_attention(self)
        self._whole_step = _whole_step(self) if self._decode_attention is not None else None
        self._graphs = _decode_graphs(self)
        self.refresh()

    def refresh(self) -> None:
        """Read the model's weights again (after a training step)."""
        model = self.model.model
        self.layers = [_Layer(layer, self.weights) for layer in model.layers]
        self.embedding = model.embed_tokens.weight.detach()
        self.norm = Norm(model.norm)
        self.head = stacked([self.model.lm_head], self.weights)
        if self._graphs is not None:
            self._graphs.clear()
        if self._whole_step is not None:
            self._whole_step.forget_weights()

    @property
    def bytes_per_token(self) -> int:
        """Memory of one position's keys and values in all layers."""
        return 2 * len(self.layers) * self.kv_heads * self.head_dim * self.dtype.itemsize

    def allocate(self, rows: int, max_len: int) -> None:
        """Have `rows` slots of `max_len` positions, keeping what fits of every slot's content."""
        if (rows, max_len) == (self.rows, self.max_len):
            return
        kept, known = min(rows, self.rows), min(max_len, self.max_len)
        spare = 0  # a slot that rows of a graph write to when nobody uses them
        if self._graphs is not None:
            spare = 1
            self._graphs.clear()
        if self._whole_step is not None:
            self._whole_step.forget_slots()
        shape = (rows + spare, 2 * self.kv_heads, max_len, self.head_dim)
        self.kv = self.kv or [torch.empty(0)] * len(self.layers)
        for number, old in enumerate(self.kv):  # one layer after the other, so that only one is there twice
            new = torch.zeros(shape, dtype=self.dtype, device=self.device)
            if kept:
                new[:kept, :, :known] = old[:kept, :, :known]
            self.kv[number] = new
        self.rows, self.max_len = rows, max_len
        positions = torch.arange(max_len, device=self.device)[None]
        cos, sin = self.model.model.rotary_emb(self.embedding[:1, None], positions)
        half = self.head_dim // 2
        # rotate_half(x)·sin as roll(x)·signed sin: the first half of the sine changes sign.
        self.cos, self.sin = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)

    def turns(self, where: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine at positions `where` for queries, keys and values side by side, (rows or 1, time, heads + 2 ·
        kv_heads, dim): values are turned by nothing, so that one multiplication serves all three."""
        cos, sin = self.cos[where][:, :, None], self.sin[where][:, :, None]
        kept = (*where.shape, self.kv_heads, self.head_dim)
        turned = (*where.shape, self.heads + self.kv_heads, self.head_dim)
        return torch.cat([cos.expand(turned), cos.new_ones(kept)], 2), torch.cat([sin.expand(turned), sin.new_zeros(kept)], 2)

    def move(self, source: list[int], target: list[int], length: int) -> None:
        """Copy the first `length` positions of slots `source` into slots `target`, all read before any is written."""
        if not source:
            return
        src, dst = torch.tensor(source, device=self.device), torch.tensor(target, device=self.device)
        for layer in self.kv:
            layer[dst, :, :length] = layer[src, :, :length]

    def qkv(self, x: torch.Tensor, layer: _Layer, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries (rows, time, heads, dim), and keys and values (rows, time, 2 · kv_heads, dim), turned."""
        qkv = layer.qkv(layer.norm1(x))
        qkv = qkv.view(*x.shape[:2], self.heads + 2 * self.kv_heads, self.head_dim)
        turned = torch.addcmul(qkv * cos, qkv.roll(self.head_dim // 2, -1), sin)
        return turned[:, :, : self.heads], turned[:, :, self.heads :]

    def run(self, tokens: Sequence[Sequence[int]], slots: Sequence[int], known: Sequence[int]) -> torch.Tensor:
        """Run `tokens[i]` in `slots[i]`, which already holds `known[i]` positions: the logits after the last of each,
        (rows, vocabulary)."""
        ids = torch.zeros((len(tokens), max(map(len, tokens))), dtype=torch.long)
        for i, mine in enumerate(tokens):
            ids[i, : len(mine)] = torch.tensor(mine)
        first, count = slots[0], len(slots)
        in_line = list(slots) == list(range(first, first + count))
        rows = slice(first, first + count) if in_line else torch.tensor(slots, device=self.device)
        start = torch.tensor(known, device=self.device) if any(known) else None
        last = torch.tensor([len(mine) - 1 for mine in tokens], device=self.device)
        return self.forward(ids.to(self.device), rows, start, min(max(known) + ids.shape[1], self.max_len), last)

    def decode(self, tokens: Sequence[int], lengths: Sequence[int]) -> torch.Tensor:
        """One token in each of the first slots, whose `lengths` positions are filled: logits (rows, vocabulary),
        good until the next call."""
        if self._graphs is not None and len(tokens) <= self._graphs.most_rows:
            return self._graphs.decode(tokens, lengths)
        start = torch.tensor(lengths, device=self.device)
        if self._whole_step is not None and len(tokens) <= self._whole_step.most_rows:
            return self._whole_step(torch.tensor(tokens), start)
        ends = [max(lengths[first : first + BLOCK]) + 1 for first in range(0, len(lengths), BLOCK)]
        last = torch.zeros(len(tokens), dtype=torch.long, device=self.device)
        ids = torch.tensor(tokens, device=self.device)[:, None]
        return self.forward(ids, slice(0, len(tokens)), start, max(ends), last, ends)

    @torch.no_grad()
    def forward(
        self,
        ids: torch.Tensor,
        rows: slice | torch.Tensor,
        start: torch.Tensor | None,
        end: int,
        last: torch.Tensor,
        ends: Sequence[int] = (),
    ) -> torch.Tensor:
        """Run `ids` (rows, time) in slots `rows` and return the logits after position `last` of each (rows, vocabulary).

        `start` (rows,) is the number of tokens already in each slot, None when every slot is fresh; `end` bounds
        start + time, `ends` the same for each `BLOCK` of rows in turn. Keys and values are written at start … start +
        time − 1. Positions past a row's real length hold padding that the next tokens overwrite and no query sees.
        """
        time = ids.shape[1]
        x = F.embedding(ids, self.embedding)  # (rows, time, hidden)
        if self._decode_attention is not None and time == 1 and start is not None and isinstance(rows, slice):
            return self._decode(x, rows, start)
        steps = torch.arange(time, device=self.device)
        where = steps[None] if start is None else start[:, None] + steps[None]  # (rows or 1, time)
        where = where.clamp_max(self.max_len - 1)  # padding may reach past the end; no prompt's own token lies there
        cos, sin = self.turns(where)
        alone = isinstance(rows, slice) and rows.stop - rows.start == 1  # one row has no padding: it fills its slot in order
        mask = index = None
        if start is not None and not (alone and time == 1):
            keys = torch.arange(end, device=self.device)
            mask = keys[None, None, None] <= where[:, None, :, None]  # (rows, 1, time, end)
            numbers = torch.arange(rows.start, rows.stop, device=self.device) if isinstance(rows, slice) else rows
            index = numbers[:, None]
        for layer, cache in zip(self.layers, self.kv, strict=True):
            q, kv = self.qkv(x, layer, cos, sin)
            if start is None:
                kv = kv.transpose(1, 2)
                cache[rows, :, :time] = kv
            elif alone:
                cache[rows, :, end - time : end] = kv.transpose(1, 2)
                kv = cache[rows, :, :end]
            else:
                cache[index, :, where] = kv
                kv = cache[rows, :, :end]
            attended = _attend(q.transpose(1, 2), kv, mask, ends)
            x = after_attention(x, attended.transpose(1, 2).flatten(2), layer)
        x = x[torch.arange(len(x), device=self.device), last]  # (rows, hidden)
        return self.head(self.norm(x))

    def _decode(self, x: torch.Tensor, rows: slice, start: torch.Tensor) -> torch.Tensor:
        """`forward` of one token in each of `rows`, x (rows, 1, hidden), with the kernel for that."""
        assert self._decode_attention is not None
        for layer, cache in zip(self.layers, self.kv, strict=True):
            qkv = layer.qkv(layer.norm1(x)).contiguous()
            attended = self._decode_attention(qkv, cache[rows], self.cos, self.sin, start)
            x = after_attention(x, attended[:, None], layer)
        return self.head(self.norm(x[:, 0]))
