"""What is asked of the engine, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch

from telechat.core.errors import UserError


class Constraint(Protocol):
    """What a completion may say next: a grammar, or a bound on thinking. One object serves one completion."""

    def allowed(self) -> torch.Tensor | None:
        """The ids that may come next as (vocabulary,) bool; None when all may."""
        ...

    def accept(self, token: int) -> None:
        """`token` was sampled."""
        ...

    @property
    def broken(self) -> bool:
        """It could not be held to the end: what was generated is not what was asked for."""
        ...


@dataclass(frozen=True)
class SamplingParams:
    """How one completion is sampled. `temperature` 0 is greedy; `seed` makes a row's randomness its own.

    Penalties change the logits before everything else: `repetition_penalty` divides what is likely and multiplies what
    is unlikely of every token of prompt and completion (Keskar et al. 2019, arXiv 1909.05858 §4.1), `presence_penalty`
    and `frequency_penalty` are subtracted for every token of the completion, once and for each time (OpenAI's
    definition); `logit_bias` is added. Then the temperature divides, and `top_k`, `top_p` and `min_p` (a share of the
    likeliest token's probability) cut what is too unlikely.
    """

    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        if self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if self.top_k < 0:
            raise UserError(f"top_k is {self.top_k}; it must be 0 (off) or positive")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"{name} is {value}; it must be between {low} and {high}")

    @property
    def changes_logits(self) -> bool:
        """Whether penalties, a bias or `min_tokens` are set."""
        penalised = self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty
        return bool(penalised or self.logit_bias or self.min_tokens)


_BOUNDS = (
    ("temperature", 0, 10),
    ("min_p", 0, 1),
    ("repetition_penalty", 0.01, 10),
    ("presence_penalty", -2, 2),
    ("frequency_penalty", -2, 2),
    ("min_tokens", 0, 2**31),
    ("top_logprobs", 0, 100),
)


@dataclass
class Completion:
    """One generated sequence: the sampled ids (stop id included), the model's own log-probability of each (at
    temperature 1, before any penalty or cut), and why it ended: "stop", "length" or "cancelled".

    `top` holds the (id, log-probability) pairs of the likeliest tokens at each position where they were asked for.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str = "length"
    top: list[list[tuple[int, float]]] = field(default_factory=list)


@dataclass
class Request:
    """One prompt with `n` completions; the engine's unit of work.

    `ended` are samples that need no more tokens (a stop string came); `cached` is how many tokens of the prompt were
    found in a slot when it got one, at `started` (`time.monotonic`). Requests of different `salt` never share what is
    cached.
    """

    id: int
    prompt: list[int]
    params: list[SamplingParams]
    completions: list[Completion]
    open: int
    cancelled: bool = False
    ended: set[int] = field(default_factory=set)
    constraints: list[Constraint | None] = field(default_factory=list)
    cached: int = 0
    salt: str = ""
    started: float | None = None
