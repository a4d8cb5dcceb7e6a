"""What is asked of the engine, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

from telechat.core.errors import UserError


@dataclass(frozen=True)
class SamplingParams:
    """How one completion is sampled. `temperature` 0 is greedy; `seed` makes a row's randomness its own."""

    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        if self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if not 0 <= self.temperature <= 10:
            raise UserError(f"temperature is {self.temperature}; it must be between 0 and 10")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.top_k < 0:
            raise UserError(f"top_k is {self.top_k}; it must be 0 (off) or positive")


@dataclass
class Completion:
    """One generated sequence: the sampled ids (stop id included), the model's own log-probability of each (at
    temperature 1, before any cut), and why it ended: "stop", "length" or "cancelled"."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str = "length"


@dataclass
class Request:
    """One prompt with `n` completions; the engine's unit of work."""

    id: int
    prompt: list[int]
    params: list[SamplingParams]
    completions: list[Completion]
    open: int
    cancelled: bool = False
