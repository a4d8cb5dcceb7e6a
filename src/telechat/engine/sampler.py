"""Logits to tokens. A row's randomness depends on its seed and its position only, never on its neighbours."""

from __future__ import annotations

import torch

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer (splitmix64, Steele et al. 2014)
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of signed 64-bit integers."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def uniforms(seeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """One number in [0, 1) for each (seed, position): splitmix64 as a counter generator. (rows,) float64."""
    x = seeds + (positions + 1) * _GOLDEN
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    x = x ^ _shift(x, 31)
    return _shift(x, 11).to(torch.float64) * 2.0**-53


class RowParams:
    """The sampling parameters of the rows of a batch as tensors, rebuilt only when the batch changes."""

    def __init__(self, temperature: list[float], top_p: list[float], top_k: list[int], seed: list[int], device: torch.device):
        self.temperature = torch.tensor(temperature, device=device)
        self.top_p = torch.tensor(top_p, device=device)
        self.top_k = torch.tensor(top_k, device=device)
        self.seed = torch.tensor(seed, dtype=torch.int64, device=device)
        self.all_greedy = all(t == 0 for t in temperature)
        self.any_greedy = any(t == 0 for t in temperature)
        self.cut = any(p < 1 for p in top_p) or any(k > 0 for k in top_k)
        self.plain = not self.cut and all(t == 1 for t in temperature)


def _cut(probabilities: torch.Tensor, rows: RowParams) -> torch.Tensor:
    """Zero what top-k and top-p exclude. (rows, vocabulary) → same; each row keeps at least its best token."""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    rank = torch.arange(ordered.shape[-1], device=ordered.device)
    limit = torch.where(rows.top_k > 0, rows.top_k, ordered.shape[-1])
    keep = (before < rows.top_p[:, None] * ordered.sum(-1, keepdim=True)) & (rank[None] < limit[:, None])
    keep[:, 0] = True
    return torch.zeros_like(probabilities).scatter(-1, order, ordered * keep)


def sample(logits: torch.Tensor, rows: RowParams, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose a token for each row.

    `logits` (rows, vocabulary), `positions` (rows,) the index of the token to draw in its completion. Returns the
    ids (rows,) and their log-probabilities under the unmodified model (rows,).
    """
    logprobs = torch.log_softmax(logits.float(), -1)
    best = logprobs.argmax(-1)
    if rows.all_greedy:
        return best, logprobs.gather(-1, best[:, None])[:, 0]
    if rows.plain:
        probabilities = logprobs.exp()
    else:
        temperature = rows.temperature.clamp_min(1e-4)
        probabilities = torch.softmax(logprobs / temperature[:, None], -1)
        if rows.cut:
            probabilities = _cut(probabilities, rows)
    cumulative = probabilities.to(torch.float64).cumsum(-1)
    threshold = uniforms(rows.seed, positions)[:, None] * cumulative[:, -1:]
    # Inverse of the distribution function; `right` so that a zero-probability token is never the answer.
    ids = torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp_max(logits.shape[-1] - 1)
    if rows.any_greedy:
        ids = torch.where(rows.temperature == 0, best, ids)
    return ids, logprobs.gather(-1, ids[:, None])[:, 0]
