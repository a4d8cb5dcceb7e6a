"""The sft stage: fusion / cold-start fine-tuning.

Several solution paths of each problem (worked steps, a plan, the direct answer) are learned side by side, so that
reinforcement learning has a choice to make. Problems are chosen by difficulty (pass rate of the present model) and
diversity (`data.select`). The loss is on the assistant's tokens only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from telechat.chat.render import Renderer
from telechat.core.errors import UserError
from telechat.core.files import read_jsonl, write_jsonl
from telechat.core.recipe import SftStage
from telechat.core.seeds import rng, shuffled
from telechat.core.types import RolloutParams, Task
from telechat.data.select import pass_rates, select, signature
from telechat.tasks.registry import generate
from telechat.train.batches import Batch, Sample, microbatches
from telechat.train.examples import path_sample, sample_from_json, sample_to_json
from telechat.train.losses import next_token
from telechat.train.stage import Rollouts, StageContext, StageResult
from telechat.train.trainer import Stateless


def run(context: StageContext, config: SftStage) -> StageResult:
    """Choose problems, then train on all of their paths."""
    renderer = context.renderer(context.tokenizer())
    model = context.model()
    file = context.folder / "data" / "problems.jsonl"
    if config.data_from:
        file = _problems_of(context, config.data_from)
    elif not file.exists():
        chosen = choose(context, config, context.rollouts(model.eval()))
        write_jsonl(file, (sample_to_json(t.kind, task_paths(renderer, t, config, context.seed)) for t in chosen))
    rows = read_jsonl(file)
    problems = [sample_from_json(row) for row in rows]
    source = Stateless(epochs(problems, config.batch, context.seed, config.microbatch_tokens))
    tokens = context.train(model, next_token, source, config)
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in context.kinds}
    paths = sum(len(p) for p in problems) / max(1, len(problems))
    return StageResult({"problems": counts, "paths_per_problem": round(paths, 3), "tokens": tokens})


def _problems_of(context: StageContext, name: str) -> Path:
    """The problems that the finished sft stage `name` chose."""
    if context.stage_kinds.get(name) != "sft":
        raise UserError(f"data_from: {name!r} is no sft stage before this one")
    return context.inputs[name].parent / "data" / "problems.jsonl"


def choose(context: StageContext, config: SftStage, rollouts: Rollouts) -> list[Task]:
    """The training problems of every kind: a pool, a probe of the present model, a selection."""
    chosen: list[Task] = []
    params = RolloutParams(
        context.recipe.evaluation.base_max_tokens, 1.0, seed=context.seed, turns=context.recipe.evaluation.turns
    )
    for number, kind in enumerate(context.kinds):
        size = max(8, round(config.pool * config.weights.get(kind, 1.0)))
        pool = [generate(kind, "train", context.seed + 1, i) for i in range(size)]
        rates: dict = {}
        if config.probes:
            probed = pool[: config.probes]
            verdicts = [
                (signature(t), r[0].verdict is not None and r[0].verdict.passed)
                for t, r in zip(probed, rollouts(probed, 1, params), strict=True)
            ]
            rates = pass_rates(verdicts)
        chosen += select(pool, rates, config.keep)
        context.progress.update(f"{config.name}: choosing problems", number + 1, len(context.kinds))
    return chosen


def task_paths(renderer: Renderer, task: Task, config: SftStage, seed: int) -> list[Sample]:
    """The most reliable path of a task; for a share `config.several` of the tasks others as well, in random order.

    A small model cannot learn answers without steps to most problems; where every problem shows one, their noise costs
    a third of the score at equal time (docs/log.md).
    """
    count = config.paths if rng("several", seed, task.id).random() < config.several else 1
    others = shuffled(list(task.paths[1:]), "paths", seed, task.id)
    return [path_sample(renderer, task, path) for path in (task.paths[0], *others)[:count]]


def epochs(
    problems: Sequence[Sequence[Sample]], size: int, seed: int, max_tokens: int
) -> Callable[[int], tuple[list[Batch], float]]:
    """step → micro-batches of `size` problems with all their paths; every epoch in another order."""
    per_epoch = max(1, len(problems) // size)
    orders: dict[int, list[int]] = {}

    def order(epoch: int) -> list[int]:
        if epoch not in orders:
            orders.clear()
            orders[epoch] = shuffled(list(range(len(problems))), "epoch", seed, epoch)
        return orders[epoch]

    def batches(step: int) -> tuple[list[Batch], float]:
        indices = order(step // per_epoch)[step % per_epoch * size :][:size]
        samples = [s for i in indices for s in problems[i]]
        made = microbatches(samples, max_tokens)
        return made, sum(float(b.weights.sum()) for b in made)

    return batches
