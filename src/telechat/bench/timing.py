"""Fair timing: the candidates take turns, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(candidates: Mapping[str, Callable[[], float]], rounds: int = 5) -> dict[str, list[float]]:
    """name → units per second of each round; each candidate returns how many units one call did. One round warms up."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, call in candidates.items():
            begun = time.perf_counter()
            units = call()
            if number:
                rates[name].append(units / (time.perf_counter() - begun))
    return rates


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)
