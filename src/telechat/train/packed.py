"""The forward pass of training: no padding except inside attention.

Norms, projections and feed-forward layers run over the flat tokens of a batch; only attention sees padded groups of
similar length. Works on the parameters of any Llama-like decoder of transformers, with the same result as its own
forward (a test holds the two together). Other architectures, and models that are sharded over several processes, go
through their own forward on padded rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaPreTrainedModel

from telechat.train.batches import Batch


def trunk(model: Any) -> Any:
    """The decoder inside a language model or a reward model."""
    return getattr(model, model.base_model_prefix)


def hidden_states(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The final hidden state of every token of `batch`: (tokens, hidden)."""
    sharded = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    if isinstance(model, LlamaPreTrainedModel) and not sharded:
        return _packed(trunk(model), batch)
    return _padded(trunk(model), batch)


class _Norm(torch.autograd.Function):
    """RMSNorm with half the passes over memory that automatic differentiation of its formula takes."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        scale = torch.rsqrt(torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps))
        normed = x * scale
        ctx.save_for_backward(normed, scale, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        normed, scale, weight = ctx.saved_tensors
        for_weight = (gradient * normed).sum(0)
        inner = gradient * weight
        along = (inner * normed).mean(-1, keepdim=True)
        return torch.addcmul(inner, normed, along, value=-1).mul_(scale), for_weight, None


class _SwiGlu(torch.autograd.Function):
    """silu(gate) · up for a (tokens, 2 × intermediate) input, its gradient in four passes."""

    @staticmethod
    def forward(ctx: Any, both: torch.Tensor) -> torch.Tensor:
        gate, up = both.chunk(2, -1)
        sigmoid = torch.sigmoid(gate)
        silu = sigmoid * gate
        ctx.save_for_backward(both, sigmoid, silu)
        return silu * up

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        both, sigmoid, silu = ctx.saved_tensors
        out = torch.empty_like(both)
        for_gate, for_up = out.chunk(2, -1)
        torch.mul(gradient, silu, out=for_up)
        # silu' = sigmoid + silu · (1 − sigmoid)
        slope = torch.addcmul(sigmoid + silu, silu, sigmoid, value=-1)
        torch.mul(slope, gradient, out=for_gate)
        for_gate.mul_(both[:, both.shape[1] // 2 :])
        return out


class _SwiGluApart(torch.autograd.Function):
    """The same for a gate and an up that were computed apart, without putting them side by side."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        sigmoid = torch.sigmoid(gate)
        ctx.save_for_backward(gate, up, sigmoid)
        return (sigmoid * gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up, sigmoid = ctx.saved_tensors
        silu = sigmoid * gate
        # silu' = sigmoid + silu · (1 − sigmoid)
        slope = torch.addcmul(sigmoid + silu, silu, sigmoid, value=-1)
        return slope.mul_(gradient).mul_(up), silu.mul_(gradient)


FUSE_BELOW = 384  # hidden size under which one product of stacked weights beats several of single ones


def _linear(x: torch.Tensor, *layers: nn.Linear) -> torch.Tensor:
    """The outputs of several layers on one input, side by side."""
    if x.shape[-1] >= FUSE_BELOW:
        return torch.cat([layer(x) for layer in layers], -1)
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    return F.linear(x, torch.cat([layer.weight for layer in layers]), bias)


def _gated(x: torch.Tensor, gate: nn.Linear, up: nn.Linear) -> torch.Tensor:
    """silu(gate(x)) · up(x)"""
    if x.shape[-1] >= FUSE_BELOW:
        return _SwiGluApart.apply(gate(x), up(x))
    return _SwiGlu.apply(_linear(x, gate, up))


def _packed(decoder: Any, batch: Batch) -> torch.Tensor:
    x = F.embedding(batch.ids, decoder.embed_tokens.weight)  # (tokens, hidden)
    cos, sin = decoder.rotary_emb(x[None], batch.positions[None])  # (1, tokens, head_dim)
    half = cos.shape[-1] // 2
    cos, sin = cos[0, :, None], torch.cat([-sin[0, :, None, :half], sin[0, :, None, half:]], -1)
    for layer in decoder.layers:
        attention, mlp = layer.self_attn, layer.mlp
        eps = layer.input_layernorm.variance_epsilon
        normed = _Norm.apply(x, layer.input_layernorm.weight, eps)
        qkv = _linear(normed, attention.q_proj, attention.k_proj, attention.v_proj)
        mixed = _attend(qkv, cos, sin, batch, attention)
        x = x + attention.o_proj(mixed)
        normed = _Norm.apply(x, layer.post_attention_layernorm.weight, eps)
        x = x + mlp.down_proj(_gated(normed, mlp.gate_proj, mlp.up_proj))
    return _Norm.apply(x, decoder.norm.weight, decoder.norm.variance_epsilon)


def _attend(qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, batch: Batch, attention: Any) -> torch.Tensor:
    """Rotate, gather each group's rows, attend, and lay the results flat again: (tokens, heads × head_dim)."""
    dim = attention.head_dim
    heads, kv_heads = attention.config.num_attention_heads, attention.config.num_key_value_heads
    qkv = qkv.view(len(qkv), heads + 2 * kv_heads, dim)
    turned = qkv[:, : heads + kv_heads]
    turned = turned * cos + turned.roll(dim // 2, -1) * sin
    q = turned[:, :heads].reshape(len(qkv), heads * dim)
    kv = torch.cat([turned[:, heads:], qkv[:, heads + kv_heads :]], 1).reshape(len(qkv), 2 * kv_heads * dim)
    if batch.back is None:  # rows of equal length in order: nothing to gather
        (group,) = batch.groups
        rows, time = group.queries.shape
        return _mixed(q.view(rows, time, heads, dim), kv.view(rows, time, 2 * kv_heads, dim), group.mask)
    # One gather for all groups, because the gradient of each is as large as what it gathers from. An embedding look-up
    # is a gather whose backward sums rows in a fixed order on several threads.
    asked = F.embedding(torch.cat([group.queries.flatten() for group in batch.groups]), q)
    read = F.embedding(torch.cat([group.keys.flatten() for group in batch.groups]), kv)
    queries = asked.split([group.queries.numel() for group in batch.groups])
    both = read.split([group.keys.numel() for group in batch.groups])
    mixed = [
        _mixed(mine.view(*group.queries.shape, heads, dim), theirs.view(*group.keys.shape, 2 * kv_heads, dim), group.mask)
        for group, mine, theirs in zip(batch.groups, queries, both, strict=True)
    ]
    return F.embedding(batch.back, mixed[0] if len(mixed) == 1 else torch.cat(mixed))


def _mixed(queries: torch.Tensor, both: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Attention of (rows, q, heads, dim) queries over (rows, k, 2 × kv_heads, dim) keys and values, laid flat:
    (rows × q, heads × dim)."""
    rows, asked, heads, dim = queries.shape
    k, v = both.transpose(1, 2).chunk(2, 1)
    mixed = F.scaled_dot_product_attention(queries.transpose(1, 2), k, v, mask, is_causal=mask is None, enable_gqa=True)
    return mixed.transpose(1, 2).reshape(rows * asked, heads * dim)


def _padded(decoder: Any, batch: Batch) -> torch.Tensor:
    """The same states through the model's own forward: one padded row for each row of keys."""
    states: list[torch.Tensor] = []
    for group in batch.groups:
        rows, asked = group.queries.shape
        length = group.keys.shape[1]
        own = batch.ids.new_ones((rows, asked), dtype=torch.bool)
        seen = own if group.mask is None else group.mask[:, 0, -1]
        found = decoder(
            input_ids=batch.ids[group.keys],
            attention_mask=None if group.mask is None else seen.long(),
            position_ids=batch.positions[group.keys],
            use_cache=False,
        ).last_hidden_state
        states.append(found[:, length - asked :].reshape(rows * asked, -1))
    out = torch.cat(states)
    return out if batch.back is None else out[batch.back]
