"""Logits to tokens. A row's randomness depends on its seed and its position only, never on its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from telechat.engine.params import SamplingParams

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

    def __init__(self, rows: Sequence[SamplingParams], device: torch.device) -> None:
        self.temperature = torch.tensor([r.temperature for r in rows], device=device)
        self.top_p = torch.tensor([r.top_p for r in rows], device=device)
        self.top_k = torch.tensor([r.top_k for r in rows], device=device)
        self.min_p = torch.tensor([r.min_p for r in rows], device=device)
        self.seed = torch.tensor([r.seed for r in rows], dtype=torch.int64, device=device)
        self.top_logprobs = max((r.top_logprobs for r in rows), default=0)
        self.all_greedy = all(r.temperature == 0 for r in rows)
        self.any_greedy = any(r.temperature == 0 for r in rows)
        uncut = [r.top_p >= 1 and r.top_k == 0 and r.min_p == 0 for r in rows]
        self.whole = torch.tensor(uncut, dtype=torch.bool, device=device)
        self.cut = not all(uncut)
        self.plain = not self.cut and all(r.temperature == 1 for r in rows)


@dataclass(frozen=True)
class History:
    """A row as penalties see it."""

    params: SamplingParams
    prompt: Sequence[int]
    completion: Sequence[int]


class Penalties:
    """Penalties, biases and `min_tokens` of a batch; the counts are kept up to date token by token."""

    def __init__(self, rows: Sequence[History], vocabulary: int, device: torch.device) -> None:
        numbers = [i for i, row in enumerate(rows) if row.params.changes_logits]
        mine = [rows[i] for i in numbers]
        self.rows = torch.tensor(numbers, dtype=torch.long, device=device)

        def column(name: str) -> torch.Tensor:
            return torch.tensor([float(getattr(row.params, name)) for row in mine], device=device)[:, None]

        def known(ids: Sequence[int]) -> torch.Tensor:
            return torch.tensor([t for t in ids if t < vocabulary], dtype=torch.long, device=device)

        self._repetition = column("repetition_penalty")
        self._presence = column("presence_penalty")
        self._frequency = column("frequency_penalty")
        self._counts = torch.zeros((len(mine), vocabulary), device=device)  # of the completion's tokens
        self._asked = torch.zeros((len(mine), vocabulary), dtype=torch.bool, device=device)  # tokens of the prompt
        self._bias = torch.zeros((len(mine), vocabulary), device=device)
        self._lengths = torch.tensor([len(row.completion) for row in mine], device=device)
        self._shortest = torch.tensor([row.params.min_tokens for row in mine], device=device)
        self._ends = torch.zeros((len(mine), vocabulary), dtype=torch.bool, device=device)
        for i, row in enumerate(mine):
            self._counts[i] = torch.bincount(known(row.completion), minlength=vocabulary)
            self._asked[i, known(row.prompt)] = True
            self._ends[i, known(row.params.stop_ids)] = True
            for token, bias in row.params.logit_bias:
                self._bias[i, token] += bias

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """The changed logits, (rows, vocabulary) → same; `logits` itself stays as it is."""
        changed = logits[self.rows].float()
        said = self._counts > 0
        factor = torch.where(changed > 0, 1 / self._repetition, self._repetition)
        changed = torch.where(said | self._asked, changed * factor, changed)
        changed = changed - self._frequency * self._counts - self._presence * said + self._bias
        early = (self._lengths < self._shortest)[:, None] & self._ends
        changed = changed.masked_fill(early, -torch.inf)
        out = logits.float()
        out = out.clone() if out is logits else out
        out[self.rows] = changed
        return out

    def add(self, tokens: torch.Tensor) -> None:
        """Every row has said one more of `tokens` (rows,)."""
        mine = tokens[self.rows]
        self._counts[torch.arange(len(mine), device=mine.device), mine] += 1
        self._lengths += 1


WIDEST = 1024  # likeliest tokens that are looked at before the whole vocabulary is sorted


def _likeliest(probabilities: torch.Tensor, rows: RowParams) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities in falling order and their ids; only the first of them where every row's cut lies among those."""
    if probabilities.shape[-1] > WIDEST:
        ordered, order = probabilities.topk(WIDEST)
        by_k = (rows.top_k > 0) & (rows.top_k <= WIDEST)
        by_min_p = (rows.min_p > 0) & (ordered[:, -1] < rows.min_p * ordered[:, 0])
        by_p = (rows.top_k == 0) & (rows.min_p == 0) & (ordered.sum(-1) > rows.top_p)
        if bool((by_k | by_min_p | by_p | rows.whole).all()):
            return ordered, order
    ordered, order = probabilities.sort(dim=-1, descending=True)
    return ordered, order


def _cut(probabilities: torch.Tensor, rows: RowParams) -> torch.Tensor:
    """Zero what min-p, top-k and (among what those leave) top-p exclude. (rows, vocabulary) → same; each row keeps at
    least its best token."""
    ordered, order = _likeliest(probabilities, rows)
    rank = torch.arange(ordered.shape[-1], device=ordered.device)
    limit = torch.where(rows.top_k > 0, rows.top_k, probabilities.shape[-1])
    kept = ordered * ((rank[None] < limit[:, None]) & (ordered >= rows.min_p[:, None] * ordered[:, :1]))
    limited = (rows.top_k > 0) | (rows.min_p > 0)
    total = torch.where(limited, kept.sum(-1), probabilities.sum(-1))
    keep = (kept.cumsum(-1) - kept) < (rows.top_p * total)[:, None]
    keep |= (rows.top_p >= 1)[:, None]
    keep[:, 0] = True
    cut = torch.zeros_like(probabilities).scatter(-1, order, kept * keep)
    return torch.where(rows.whole[:, None], probabilities, cut)


def sample(
    logits: torch.Tensor, rows: RowParams, positions: torch.Tensor, adjusted: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose a token for each row.

    `logits` (rows, vocabulary) are the model's, `adjusted` those after penalties and constraints where there are any;
    `positions` (rows,) is the index of the token to draw in its completion. Returns the ids (rows,), their
    log-probabilities under the unmodified model (rows,), and the model's log-probabilities (rows, vocabulary).
    """
    logprobs = torch.log_softmax(logits.float(), -1)
    wanted = logprobs if adjusted is None else torch.log_softmax(adjusted, -1)
    best = wanted.argmax(-1)
    if rows.all_greedy:
        return best, logprobs.gather(-1, best[:, None])[:, 0], logprobs
    if rows.plain:
        probabilities = wanted.exp()
    else:
        temperature = rows.temperature.clamp_min(1e-4)
        probabilities = torch.softmax(wanted / temperature[:, None], -1)
        if rows.cut:
            probabilities = _cut(probabilities, rows)
    cumulative = probabilities.to(torch.float64).cumsum(-1)
    threshold = uniforms(rows.seed, positions)[:, None] * cumulative[:, -1:]
    # Inverse of the distribution function; `right` so that a zero-probability token is never the answer.
    ids = torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp_max(logits.shape[-1] - 1)
    if rows.any_greedy:
        ids = torch.where(rows.temperature == 0, best, ids)
    return ids, logprobs.gather(-1, ids[:, None])[:, 0], logprobs
