"""Fair timing: the candidates take turns, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping

from telechat.core.progress import Progress


def interleaved(
    candidates: Mapping[str, Callable[[], float]],
    rounds: int = 5,
    slow: float = math.inf,
    progress: Progress | None = None,
    what: str = "",
) -> dict[str, list[float]]:
    """name → units per second of each round; each candidate returns how many units one call did. One round warms up;
    a candidate that takes more than `slow` seconds for it is not called again, and that round counts."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    once: set[str] = set()
    for number in range(rounds + 1):
        for name, call in candidates.items():
            if name in once:
                continue
            begun = time.perf_counter()
            units = call()
            seconds = time.perf_counter() - begun
            if seconds > slow:
                once.add(name)
            if number or name in once:
                rates[name].append(units / seconds)
        if progress is not None:
            progress.update(what, number + 1, rounds + 1)
    return rates


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)
