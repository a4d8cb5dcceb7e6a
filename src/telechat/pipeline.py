"""The resumable runner: what happens, in which order.

Each stage has a folder with a manifest. A stage whose manifest is complete and whose inputs hash the same is
skipped; an interrupted one goes on where it was; anything else starts afresh. The run directory is locked.
"""

from __future__ import annotations

import importlib
import os
import platform
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

import telechat
from telechat.core.errors import UserError
from telechat.core.files import digest, file_digest, locked, read_json, write_json, write_jsonl
from telechat.core.progress import Progress, clock
from telechat.core.recipe import Recipe, Stage
from telechat.core.recipe_file import write_recipe
from telechat.core.seeds import seed_of
from telechat.core.types import RolloutParams
from telechat.data.corpora import stdlib_digest
from telechat.engine import Engine
from telechat.envs.rollout import LocalRollouts
from telechat.evals.held_out import evaluate
from telechat.machine import accelerator, keep_freed_memory, version_of
from telechat.models.loading import load_model, load_tokenizer, training_device
from telechat.tasks.registry import get_kind
from telechat.train.stage import Rollouts, StageContext

# The cards' sampling for general use (TeleChat3-Coder card, "推理参数选择": temperature 0.6, top_p 0.95).
CARD_TEMPERATURE, CARD_TOP_P = 0.6, 0.95


@dataclass
class Run:
    """A run directory and what is known about its stages."""

    recipe: Recipe
    out: Path
    progress: Progress
    any_machine: bool = False
    inputs: dict[str, Path] = field(default_factory=dict)
    stage_kinds: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)


def run_recipe(
    recipe: Recipe, out: Path, *, until: str | None = None, progress: Progress | None = None, any_machine: bool = False
) -> dict[str, Any]:
    """Run `recipe` in `out`, going on where an earlier start stopped; returns the report.

    `until` stops after the stage of that name. `any_machine` allows to resume with another instruction set or
    thread count, where the result is no longer bit for bit that of an uninterrupted run.
    """
    from telechat.report import write_report

    names = [s.name for s in recipe.stages]
    if until is not None and until not in names:
        raise UserError(f"--until {until}: no such stage; there are: {', '.join(names)}")
    for kind in recipe.kinds:
        get_kind(kind)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; give a folder for --out")
    keep_freed_memory()
    torch.set_num_threads(recipe.threads or 2)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may sum in another order each time
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Every buffer that we read is written first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    progress = progress or Progress()
    with locked(out):
        run = Run(recipe, out, progress, any_machine)
        write_recipe(out / "recipe.yaml", recipe)
        for number, stage in enumerate(recipe.stages):
            _run_stage(run, number, stage)
            if stage.name == until:
                progress.note(f"stopped after {until}, as told; start again without --until to go on")
                return {}
        return write_report(recipe, out, [stage_folder(out, i, s) for i, s in enumerate(recipe.stages)])


def stage_folder(out: Path, number: int, stage: Stage) -> Path:
    """Where stage `number` of a run lives."""
    return out / "stages" / f"{number:02d}-{stage.name}"


def _run_stage(run: Run, number: int, stage: Stage) -> None:
    folder = stage_folder(run.out, number, stage)
    inputs = _inputs(run, stage)
    manifest_file = folder / "manifest.json"
    manifest = read_json(manifest_file) if manifest_file.exists() else None
    if manifest is not None and manifest["inputs"] != inputs:
        shutil.rmtree(folder)
        manifest = None
    if manifest is not None and manifest["state"] == "running" and not run.any_machine:
        _same_machine(manifest, folder)
    if manifest is None:
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "name": stage.name,
            "kind": stage.kind,
            "state": "running",
            "inputs": inputs,
            "seconds": 0.0,
            **machine(run.recipe),
        }
        write_json(manifest_file, manifest)
    if manifest["state"] != "complete":
        run.progress.prefix = f"[{number + 1}/{len(run.recipe.stages)}] "
        _work(run, stage, folder, manifest)
    run.inputs[stage.name] = folder / "model"
    run.stage_kinds[stage.name] = stage.kind
    run.hashes[stage.name] = read_json(manifest_file)["output"]


def _inputs(run: Run, stage: Stage) -> str:
    """A hash of all that decides what a stage makes."""
    shared = run.recipe.model_dump(mode="json", exclude={"stages", "description", "name"})
    corpus = stdlib_digest() if stage.kind in ("tokenizer", "pretrain") else None
    return digest(stage.model_dump(mode="json"), shared, run.hashes, corpus, telechat.__version__)


def machine(recipe: Recipe) -> dict[str, Any]:
    """What a run's bits depend on."""
    return {
        "versions": {
            "telechat": telechat.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numba": version_of("numba"),
        },
        **_hardware(),
        "seed": recipe.seed,
    }


def _hardware() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "accelerator": accelerator(),
    }


def _same_machine(manifest: dict[str, Any], folder: Path) -> None:
    for key, value in _hardware().items():
        if manifest.get(key) != value:
            raise UserError(
                f"{folder}: was begun with {key} {manifest.get(key)}, here it is {value}; the result would not be bit for bit "
                f"the same. Go on there, or say --any-machine"
            )


class _Clock:
    """Seconds spent in a stage, summed over restarts: written with every saved state."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.before = read_json(file)["seconds"] if file.exists() else 0.0
        self.begun = time.monotonic()

    def seconds(self) -> float:
        return self.before + time.monotonic() - self.begun

    def save(self) -> None:
        write_json(self.file, {"seconds": round(self.seconds(), 3)})


def _work(run: Run, stage: Stage, folder: Path, manifest: dict[str, Any]) -> None:
    """Run one stage, judge its model, complete its manifest."""
    watch = _Clock(folder / "clock.json")
    recipe = run.recipe
    slots = recipe.evaluation.slots

    def rollouts(model: nn.Module) -> Rollouts:
        tokenizer = load_tokenizer(next(iter(run.inputs.values())))
        return LocalRollouts(Engine(model, slots), context.renderer(tokenizer))

    def score(model: nn.Module, split: str, count: int, kinds: Sequence[str]) -> dict[str, float]:
        params = RolloutParams(recipe.evaluation.base_max_tokens, 0.0, turns=recipe.evaluation.turns)
        watch.save()
        return evaluate(rollouts(model), kinds, split, count, params)[0]

    context = StageContext(
        recipe,
        folder,
        seed_of(recipe.seed, stage.name) % 2**31,
        run.progress,
        dict(run.inputs),
        dict(run.stage_kinds),
        rollouts,
        score,
    )
    module = importlib.import_module(f"telechat.train.{_MODULES[stage.kind]}")
    context.progress.on_update = watch_saver(watch)
    result = module.run(context, stage)
    metrics = dict(result.metrics)
    if stage.kind not in ("tokenizer", "reward_model"):
        metrics |= _judge(run, stage, folder, rollouts, metrics)
    watch.save()
    manifest |= {
        "state": "complete",
        "seconds": round(watch.seconds(), 2),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "metrics": metrics,
        "output": digest(
            [file_digest(f) for f in sorted((folder / "model").iterdir()) if f.suffix in (".safetensors", ".json")]
        ),
    }
    write_json(folder / "manifest.json", manifest)
    (folder / "state.safetensors").unlink(missing_ok=True)
    scores = metrics.get("scores", {})
    shown = f", mean score {scores['mean']:.3f}" if scores else ""
    run.progress.note(f"{run.progress.prefix}{stage.name} done in {clock(manifest['seconds'])}{shown}")


_MODULES = {
    "tokenizer": "tokenizer",
    "pretrain": "pretrain",
    "merge": "merge",
    "sft": "sft",
    "reward_model": "reward_model",
    "rl": "rl",
    "agent_sft": "agent_sft",
    "agentic_rl": "rl",
}


def watch_saver(watch: _Clock, every: float = 2.0) -> Callable[[], None]:
    """A callback that writes the clock at most once in `every` seconds."""
    last = [0.0]

    def save() -> None:
        if watch.seconds() - last[0] >= every:
            last[0] = watch.seconds()
            watch.save()

    return save


def _judge(
    run: Run, stage: Stage, folder: Path, rollouts: Callable[[nn.Module], Rollouts], metrics: dict[str, Any]
) -> dict[str, Any]:
    """Held-out scores of a stage's model; at the end also transfer and the card's sampling."""
    settings = run.recipe.evaluation
    last = stage is run.recipe.stages[-1]
    final_rl = stage.kind == "rl" and stage is [s for s in run.recipe.stages if s.kind == "rl"][-1]
    count = settings.heldout if last or final_rl or stage.kind == "sft" else settings.between
    if not count:
        return {}
    file = folder / "scores.json"
    found: dict[str, Any] = read_json(file) if file.exists() else {}
    model = load_model(folder / "model", device=training_device())
    acting = rollouts(model)
    kinds = run.recipe.kinds
    short = stage.kind in ("pretrain", "merge")
    limit = settings.base_max_tokens if short else settings.max_tokens
    wanted = [("scores", "heldout", count, 0.0, 1.0)]
    if last:
        wanted += [("transfer", "transfer", settings.transfer, 0.0, 1.0)]
        wanted += [("scores_sampled", "heldout", settings.sampled, CARD_TEMPERATURE, CARD_TOP_P)]
    for name, split, number, temperature, top_p in wanted:
        if name in found or not number:
            continue
        run.progress.note(f"{run.progress.prefix}{stage.name}: {name} on {number} {split} tasks of each of {len(kinds)} kinds")
        params = RolloutParams(limit, temperature, top_p, seed=run.recipe.seed, turns=settings.turns)
        found[name], seen = evaluate(acting, kinds, split, number, params)
        if name == "scores":
            write_jsonl(
                folder / "data" / "answers.jsonl",
                (_answer(t, a) for i, (t, a) in enumerate(seen) if i % max(1, number // 8) == 0),
            )
        write_json(file, found)
    if stage.kind == "agentic_rl":
        multi = [k for k in kinds if get_kind(k).multi_turn]
        before = _scores_before(run, stage)
        found["start"] = round(sum(before.get(k, 0.0) for k in multi) / len(multi), 4) if before else None
        found["end"] = round(sum(found["scores"][k] for k in multi) / len(multi), 4)
    return found


def _scores_before(run: Run, stage: Stage) -> dict[str, float]:
    index = next(i for i, s in enumerate(run.recipe.stages) if s.name == stage.name)
    for i in range(index - 1, -1, -1):
        scores = read_json(stage_folder(run.out, i, run.recipe.stages[i]) / "manifest.json")["metrics"].get("scores")
        if scores:
            return scores
    return {}


def _answer(task: Any, trajectory: Any) -> dict[str, Any]:
    return {
        "task": task.id,
        "kind": task.kind,
        "prompt": [m.to_dict() for m in task.messages],
        "messages": [m.to_dict() for m in trajectory.messages],
        "passed": bool(trajectory.verdict and trajectory.verdict.passed),
    }
