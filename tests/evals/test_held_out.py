"""Scores are shares of held-out tasks, the same tasks for everyone."""

from __future__ import annotations

from telechat.core.types import RolloutParams, Trajectory, Verdict
from telechat.evals.held_out import evaluate


def test_scores_are_shares_by_kind_and_their_mean():
    asked = []

    def roll_out(tasks, samples, params):
        asked.extend(t.id for t in tasks)
        right = [t.kind == "addition" or t.index % 4 == 0 for t in tasks]
        return [[Trajectory(t.id, [], verdict=Verdict(float(r), r))] for t, r in zip(tasks, right, strict=True)]

    kinds = ["addition", "code", "tool_lookup"]
    scores, seen = evaluate(roll_out, kinds, "heldout", 8, RolloutParams(16))
    assert scores == {"mean": 0.5, "addition": 1.0, "code": 0.25, "tool_lookup": 0.25}
    assert len(seen) == 24
    first = list(asked)
    asked.clear()
    evaluate(roll_out, kinds, "heldout", 8, RolloutParams(16))
    assert asked == first
    assert all("/heldout/" in name for name in asked)
