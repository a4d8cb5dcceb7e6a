"""The agent_sft stage: fine-tuning on the model's own verified multi-turn trajectories.

Thinking is kept between tool calls, as it was generated. A trajectory that is right by luck teaches guessing, so enough
of a problem's samples must be right (`agree`). Where they are not, the model may be shown a generated trajectory that
the verifier has accepted, and more of that kind: what it cannot do yet has the larger share.
Single-turn problems are replayed against forgetting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from telechat.chat.render import Renderer
from telechat.core.files import read_json, read_jsonl, write_json, write_jsonl
from telechat.core.recipe import AgentSftStage
from telechat.core.seeds import rng
from telechat.core.types import RolloutParams, Trajectory
from telechat.tasks.registry import generate, get_kind
from telechat.train.examples import shown_trajectory, trajectory_sample
from telechat.train.losses import next_token
from telechat.train.sft import epochs
from telechat.train.stage import Rollouts, StageContext, StageResult
from telechat.train.trainer import Stateless

OWN_PER_PROBLEM = 2


def run(context: StageContext, config: AgentSftStage) -> StageResult:
    """Roll out, keep what the verifier accepts, train on it."""
    renderer = context.renderer(context.tokenizer())
    model = context.model()
    file = context.folder / "data" / "trajectories.jsonl"
    if not file.exists():
        rows, counts = collect(context, config, context.rollouts(model.eval()), renderer)
        write_json(context.folder / "data" / "counts.json", counts)
        write_jsonl(file, [row.to_dict() for row in rows])
    problems = [[trajectory_sample(Trajectory.from_dict(row), 1.0)] for row in read_jsonl(file)]
    source = Stateless(epochs(problems, config.batch, context.seed, config.microbatch_tokens))
    tokens = context.train(model, next_token, source, config)
    return StageResult({"trajectories": read_json(context.folder / "data" / "counts.json"), "tokens": tokens})


def collect(
    context: StageContext, config: AgentSftStage, rollouts: Rollouts, renderer: Renderer
) -> tuple[list[Trajectory], dict]:
    """What to train on, and how much of each kind was the model's own or generated."""
    kinds = config.kinds or [k for k in context.kinds if get_kind(k).multi_turn]
    params = RolloutParams(config.max_tokens, config.temperature, seed=context.seed, turns=context.recipe.evaluation.turns)

    def shown_as(what: str) -> Callable[[int, int], None]:
        return lambda done, total: context.progress.update(f"{config.name}: {what}", done, total)

    rows: list[Trajectory] = []
    counts: dict[str, dict[str, int]] = {}
    for kind in kinds:
        tasks = [generate(kind, "train", context.seed + 3, i) for i in range(config.problems)]
        own = shown = failed = 0
        for task, attempts in zip(tasks, rollouts(tasks, config.samples, params, progress=shown_as(kind)), strict=True):
            right = [a for a in attempts if a.verdict is not None and a.verdict.passed]
            if len(right) >= max(1, math.ceil(config.agree * len(attempts))):
                shortest = sorted({tuple(a.ids): a for a in right}.values(), key=lambda a: len(a.ids))[:OWN_PER_PROBLEM]
                rows += shortest
                own += len(shortest)
                continue
            failed += 1
            if rng("gold", context.seed, task.id).random() < config.gold_share:
                rows.append(shown_trajectory(renderer, task))
                shown += 1
        further = [generate(kind, "train", context.seed + 3, config.problems + i) for i in range(round(failed * config.hard))]
        rows += [shown_trajectory(renderer, task) for task in further]
        counts[kind] = {"own": own, "generated": shown + len(further), "problems": len(tasks) + len(further)}
    return rows + _replay(context, round(len(rows) * config.replay), rollouts, renderer, params), counts


def _replay(
    context: StageContext, count: int, rollouts: Rollouts, renderer: Renderer, params: RolloutParams
) -> list[Trajectory]:
    """`count` single-turn problems against forgetting: the model's own answer where it is right, else the worked path."""
    single = [k for k in context.kinds if not get_kind(k).multi_turn]
    if not single:
        return []
    tasks = [generate(single[i % len(single)], "train", context.seed + 4, i // len(single)) for i in range(count)]
    params = replace(params, max_tokens=context.recipe.evaluation.max_tokens)
    rows = []
    for task, (attempt,) in zip(tasks, rollouts(tasks, 1, params), strict=True):
        own = attempt.verdict is not None and attempt.verdict.passed
        rows.append(attempt if own else shown_trajectory(renderer, task))
    return rows
