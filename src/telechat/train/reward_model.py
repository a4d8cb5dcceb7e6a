"""The reward_model stage: Bradley–Terry on the present model's own answers.

A pair is two answers that the same checkpoint sampled to the same prompt, both well-formed (they end by themselves
and hold something), one verified right and one verified wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from telechat.core.files import read_jsonl, write_jsonl
from telechat.core.recipe import RewardModelStage
from telechat.core.seeds import rng, shuffled
from telechat.core.types import RolloutParams, Trajectory
from telechat.tasks.registry import generate, get_kind
from telechat.train.batches import Batch, Sample, collate
from telechat.train.examples import trajectory_sample
from telechat.train.losses import answer_scores, bradley_terry
from telechat.train.packed import hidden_states
from telechat.train.stage import Rollouts, StageContext, StageResult
from telechat.train.trainer import Stateless

PAIRS_PER_PROMPT = 3
ROUND = 80  # prompts of a kind that are asked together


def run(context: StageContext, config: RewardModelStage) -> StageResult:
    """Sample answers, pair them, train, and measure the share of held-out pairs that are ordered rightly."""
    policy = context.model().eval()
    files = {split: context.folder / "data" / f"pairs-{split}.jsonl" for split in ("train", "heldout")}
    for split, file in files.items():
        if not file.exists():
            count = config.prompts if split == "train" else config.heldout_prompts
            write_jsonl(file, sample_pairs(context, config, context.rollouts(policy), split, count))
    pairs, heldout = (read_jsonl(files[split]) for split in ("train", "heldout"))
    model = AutoModelForSequenceClassification.from_pretrained(context.previous, num_labels=1)
    model.config.likelihood = config.likelihood if model.config.tie_word_embeddings else 0.0
    with torch.no_grad():
        model.score.weight.zero_()

    def batches(step: int) -> tuple[list[Batch], float]:
        per_epoch = max(1, len(pairs) // config.batch)
        order = shuffled(list(range(len(pairs))), "pairs", context.seed, step // per_epoch)
        chosen = order[step % per_epoch * config.batch :][: config.batch]
        return pair_batches([pairs[i] for i in chosen], config.microbatch_tokens), float(max(1, len(chosen)))

    context.train(model, bradley_terry, Stateless(batches), config, steps=config.steps if pairs else 0)
    by_kind = pair_accuracy(model, heldout, config.microbatch_tokens)
    total = sum(n for _, n in by_kind.values())
    accuracy = sum(right for right, _ in by_kind.values()) / max(1, total)
    return StageResult(
        {
            "pair_accuracy": round(accuracy, 4),
            "by_kind": {kind: round(right / n, 4) for kind, (right, n) in by_kind.items()},
            "pairs": len(pairs),
            "heldout_pairs": total,
        }
    )


def well_formed(trajectory: Trajectory) -> bool:
    """The answer ended by itself and says or calls something."""
    last = trajectory.messages[-1] if trajectory.messages else None
    return trajectory.finish == "stop" and last is not None and bool((last.content or "").strip() or last.tool_calls)


def sample_pairs(context: StageContext, config: RewardModelStage, rollouts: Rollouts, split: str, count: int) -> list[dict]:
    """Pairs (right, wrong) of sampled answers to `count` prompts of every single-turn kind at most.

    For training a kind stops at `config.pairs` pairs, so that kinds which are seldom answered wrongly are asked longer.
    """
    params = RolloutParams(context.recipe.evaluation.max_tokens, config.temperature, seed=context.seed)
    rows: list[dict] = []
    kinds = [k for k in context.kinds if not get_kind(k).multi_turn]
    for number, kind in enumerate(kinds):
        mine: list[dict] = []
        for first in range(0, count, ROUND):
            if split == "train" and len(mine) >= config.pairs:
                break
            tasks = [generate(kind, split, context.seed + 2, i) for i in range(first, min(first + ROUND, count))]
            for task, attempts in zip(tasks, rollouts(tasks, config.samples, params), strict=True):
                mine += _pairs(kind, task.id, attempts, context.seed)
        rows += mine
        context.progress.update(f"{split} pairs", number + 1, len(kinds))
    return rows


def _pairs(kind: str, task: str, attempts: Sequence[Trajectory], seed: int) -> list[dict]:
    """Up to `PAIRS_PER_PROMPT` pairs of different answers to one prompt."""
    good = _distinct([a for a in attempts if well_formed(a) and a.verdict and a.verdict.passed])
    bad = _distinct([a for a in attempts if well_formed(a) and a.verdict and not a.verdict.passed])
    draw = rng("pairs", seed, task)
    matched = zip(draw.sample(good, len(good)), draw.sample(bad, len(bad)), strict=False)
    rows = [{"kind": kind, "task": task, "right": _ids(right), "wrong": _ids(wrong)} for right, wrong in matched]
    return rows[:PAIRS_PER_PROMPT]


def _distinct(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    return list({tuple(t.ids): t for t in trajectories}.values())


def _ids(trajectory: Trajectory) -> list[list[int]]:
    sample = trajectory_sample(trajectory, 1.0)
    return [list(sample.prompt), list(sample.completion)]


def pair_batches(pairs: Sequence[dict], max_tokens: int) -> list[Batch]:
    """Pairs as batches whose rows alternate right, wrong."""
    out: list[Batch] = []
    current: list[Sample] = []
    tokens = 0
    for pair in sorted(pairs, key=lambda p: len(p["right"][0]) + len(p["right"][1])):
        both = [Sample(tuple(p), tuple(c), (sign,) * len(c)) for (p, c), sign in ((pair["right"], 1.0), (pair["wrong"], -1.0))]
        size = sum(s.length for s in both)
        if current and tokens + size > max_tokens:
            out.append(collate(current))
            current, tokens = [], 0
        current += both
        tokens += size
    return [*out, collate(current)] if current else out


@torch.no_grad()
def pair_accuracy(model: Any, pairs: Sequence[dict], max_tokens: int) -> dict[str, tuple[int, int]]:
    """kind → (pairs ordered rightly, pairs)."""
    out: dict[str, tuple[int, int]] = {}
    for kind in sorted({p["kind"] for p in pairs}):
        mine = [p for p in pairs if p["kind"] == kind]
        right = 0
        for pair_batch in pair_batches(mine, max_tokens):
            batch = pair_batch.to(model.device)
            scores = answer_scores(model, batch, hidden_states(model, batch))
            right += int((scores[0::2] > scores[1::2]).sum())
        out[kind] = (right, len(mine))
    return out
