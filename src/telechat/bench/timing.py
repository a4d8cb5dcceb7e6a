"""Fair timing: the candidates take turns, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

SLOW = 60.0  # seconds of one call


def interleaved(candidates: Mapping[str, Callable[[], float]], rounds: int = 5) -> dict[str, list[float]]:
    """name → units per second of each round; each candidate returns how many units one call did. One round warms up;
    a candidate that takes a minute for it is not called again, and that round counts."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    once: set[str] = set()
    for number in range(rounds + 1):
        for name, call in candidates.items():
            if name in once:
                continue
            begun = time.perf_counter()
            units = call()
            seconds = time.perf_counter() - begun
            if seconds > SLOW:
                once.add(name)
            if number or name in once:
                rates[name].append(units / seconds)
    return rates


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)
