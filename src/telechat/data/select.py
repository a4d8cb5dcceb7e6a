"""Cold-start selection: which problems are worth training on, by difficulty and by diversity."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

from telechat.core.types import Task

_VARIABLE = re.compile(r"[A-Z][a-z]+|\d+")


def signature(task: Task) -> str:
    """What a problem has in common with its like: its words without names and numbers."""
    return _VARIABLE.sub("#", " ".join(m.content or "" for m in task.messages))[:160]


def pass_rates(results: Sequence[tuple[Hashable, bool]], prior: float = 2.0) -> dict[Hashable, float]:
    """Pass rate of each group of problems, drawn towards the overall rate by `prior` imaginary trials."""
    overall = sum(passed for _, passed in results) / max(1, len(results))
    trials: dict[Hashable, list[bool]] = defaultdict(list)
    for group, passed in results:
        trials[group].append(passed)
    return {g: (sum(t) + prior * overall) / (len(t) + prior) for g, t in trials.items()}


def select(tasks: Sequence[Task], rates: Mapping[str, float], keep: float) -> list[Task]:
    """The `keep` share of `tasks`: what the model seldom solves first, spread over as many wordings as there are.

    `rates` maps a signature to the present model's pass rate (unknown ones count as the mean). Every round takes one
    problem of each signature, in order of falling difficulty, so that a frequent wording cannot crowd out a rare one.
    """
    wanted = max(1, round(len(tasks) * keep))
    mean = sum(rates.values()) / len(rates) if rates else 0.5
    groups: dict[str, list[Task]] = defaultdict(list)
    seen: set[str] = set()
    for task in tasks:
        text = " ".join(m.content or "" for m in task.messages)
        if text not in seen:
            seen.add(text)
            groups[signature(task)].append(task)
    order = sorted(groups, key=lambda s: (rates.get(s, mean), s))
    for name in order:
        groups[name].sort(key=lambda t: (-t.difficulty, t.index))
    chosen: list[Task] = []
    depth = 0
    while len(chosen) < wanted and any(len(groups[s]) > depth for s in order):
        chosen += [groups[s][depth] for s in order if len(groups[s]) > depth]
        depth += 1
    return chosen[:wanted]
