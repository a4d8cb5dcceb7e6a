"""Scores on the task kinds: the share of held-out tasks that a model solves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from telechat.core.types import RolloutParams, Task, Trajectory
from telechat.tasks.registry import generate, get_kind

RollOut = Callable[[Sequence[Task], int, RolloutParams], list[list[Trajectory]]]

EVALUATION_SEED = 7_000_000  # held-out tasks are the same for every run and every stage


def evaluate(
    roll_out: RollOut,
    kinds: Sequence[str],
    split: str,
    count: int,
    params: RolloutParams,
) -> tuple[dict[str, float], list[tuple[Task, Trajectory]]]:
    """{"mean": …, kind: share in [0, 1]} over `count` tasks of each kind, and one (task, trajectory) of each task.

    Multi-turn kinds are rolled out together after the single-turn ones, because their rounds take turns.
    """
    scores: dict[str, float] = {}
    seen: list[tuple[Task, Trajectory]] = []
    for multi in (False, True):
        tasks = [generate(k, split, EVALUATION_SEED, i) for k in kinds if get_kind(k).multi_turn == multi for i in range(count)]
        if not tasks:
            continue
        pairs = [(task, group[0]) for task, group in zip(tasks, roll_out(tasks, 1, params), strict=True)]
        seen += pairs
        for kind in kinds:
            mine = [t.verdict.score if t.verdict else 0.0 for task, t in pairs if task.kind == kind]
            if mine:
                scores[kind] = round(sum(mine) / len(mine), 4)
    ordered = {kind: scores[kind] for kind in kinds}
    return {"mean": round(sum(ordered.values()) / len(ordered), 4), **ordered}, seen
