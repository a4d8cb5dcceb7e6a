"""The resumable runner: what happens, in which order.

Each stage has a folder with a manifest. A stage whose manifest is complete and whose inputs hash the same is
skipped; an interrupted one goes on where it was; anything else starts afresh, and what was there before is kept in
`replaced`, from where the same recipe takes it back. The run directory is locked.
"""

from __future__ import annotations

import functools
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
from telechat.chat.formats import get_format
from telechat.chat.render import Renderer
from telechat.core.errors import UserError
from telechat.core.files import digest, file_digest, locked, read_json, write_json, write_jsonl
from telechat.core.progress import Progress, clock
from telechat.core.recipe import Recipe, Stage
from telechat.core.recipe_file import write_recipe
from telechat.core.seeds import seed_of
from telechat.core.types import RolloutParams, Task, Trajectory
from telechat.data.corpora import stdlib_digest
from telechat.engine import Engine
from telechat.envs.rollout import LocalRollouts
from telechat.evals.held_out import evaluate
from telechat.machine import accelerator, keep_freed_memory, version_of
from telechat.models.loading import load_model, load_tokenizer, training_device
from telechat.preflight import own_code, own_names, refuse_what_cannot_run
from telechat.tasks.registry import get_kind
from telechat.train.stage import Rollouts, StageContext
from telechat.train.tokenizer import plain_sources

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
    made_of: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    worked: bool = False
    last: dict[str, Any] | None = None  # the manifest of the stage before


def run_recipe(
    recipe: Recipe, out: Path, *, until: str | None = None, progress: Progress | None = None, any_machine: bool = False
) -> dict[str, Any]:
    """Run `recipe` in `out`, going on where an earlier start stopped; returns the report.

    `until` stops after the stage of that name. `any_machine` allows to resume with another instruction set or
    thread count, where the result is no longer bit for bit that of an uninterrupted run.
    """
    from telechat.report import write_report

    refuse_what_cannot_run(recipe, out, until)
    code = own_code(recipe)
    keep_freed_memory()
    torch.set_num_threads(recipe.threads or 2)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may sum in another order each time
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Every buffer that we read is written first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    progress = progress or Progress()
    with locked(out):
        run = Run(recipe, out, progress, any_machine, code=code)
        write_recipe(out / "recipe.yaml", recipe)
        _clear_away(run)
        for number, stage in enumerate(recipe.stages):
            _run_stage(run, number, stage)
            if stage.name == until and number + 1 < len(recipe.stages):
                progress.note(f"stopped after {until}, as told; start again without --until to go on")
                return {}
        folders = [stage_folder(out, i, s) for i, s in enumerate(recipe.stages)]
        return write_report(recipe, out, folders, anew=run.worked)


def stage_folder(out: Path, number: int, stage: Stage) -> Path:
    """Where stage `number` of a run lives."""
    return out / "stages" / f"{number:02d}-{stage.name}"


def _run_stage(run: Run, number: int, stage: Stage) -> None:
    folder = stage_folder(run.out, number, stage)
    inputs = _inputs(run, stage)
    manifest_file = folder / "manifest.json"
    _bring(run, folder, inputs)
    manifest = read_json(manifest_file) if manifest_file.exists() else None
    begun = manifest if manifest is not None and manifest["state"] == "running" else run.last
    if begun is not None and (manifest is None or manifest["state"] == "running") and not run.any_machine:
        _same_machine(begun, run.recipe, folder)
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
    run.progress.prefix = f"[{number + 1}/{len(run.recipe.stages)}] "
    if manifest["state"] != "complete":
        _no_report_yet(run)
        _work(run, stage, folder, manifest)
    elif manifest["judged"] != _owed(run.recipe, stage):
        _no_report_yet(run)
        judged = ("tasks", "start", "end", *_EVALUATIONS)
        trained = {key: value for key, value in manifest["metrics"].items() if key not in judged}
        manifest["metrics"] = trained | _judge(run, stage, folder)
        manifest["judged"] = _owed(run.recipe, stage)
        write_json(manifest_file, manifest)
    run.inputs[stage.name] = folder / "model"
    run.stage_kinds[stage.name] = stage.kind
    run.hashes[stage.name] = read_json(manifest_file)["output"]
    run.made_of[stage.name] = inputs
    run.last = manifest


def _no_report_yet(run: Run) -> None:
    """What is reported must be what is there: an older report goes when the first stage is worked on."""
    for name in () if run.worked else ("report.json", "report.html"):
        (run.out / name).unlink(missing_ok=True)
    run.worked = True


def _clear_away(run: Run) -> None:
    """Put stages aside that the recipe does not have, or not in that place."""
    known = {stage_folder(run.out, i, stage) for i, stage in enumerate(run.recipe.stages)}
    for folder in sorted((run.out / "stages").glob("*")):
        if folder not in known and (folder / "manifest.json").exists():
            _put_aside(run, folder, read_json(folder / "manifest.json")["inputs"])


def _put_aside(run: Run, folder: Path, had: str) -> None:
    kept = run.out / "replaced" / f"{folder.name}-{had}"
    kept.parent.mkdir(exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    folder.rename(kept)
    run.progress.note(f"{folder.name} was made of another recipe or seed, or by another version: it is now {kept}")


def _bring(run: Run, folder: Path, inputs: str) -> None:
    """Put what was made of other inputs (a changed recipe, another seed) aside, and take back what was made of these."""
    manifest_file = folder / "manifest.json"
    had = read_json(manifest_file)["inputs"] if manifest_file.exists() else None
    if had is not None and had != inputs:
        _put_aside(run, folder, had)
    before = run.out / "replaced" / f"{folder.name}-{inputs}"
    if before.exists() and not manifest_file.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        before.rename(folder)


def _inputs(run: Run, stage: Stage) -> str:
    """A hash of all that decides what a stage makes; how many tasks judge it afterwards does not."""
    judging = {"heldout", "between", "transfer", "sampled"}
    # Another number of threads is another machine, which is refused inside a run and not a reason to begin it anew.
    excluded: Any = {"stages": True, "description": True, "name": True, "threads": True, "evaluation": judging}
    shared = run.recipe.model_dump(mode="json", exclude=excluded)
    corpus = stdlib_digest() if stage.kind in ("tokenizer", "pretrain") else None
    read = plain_sources(run.recipe) if stage.kind == "tokenizer" else None
    # Merge reads more of the stage before it than its last model, which is all that a hash of its output covers.
    before = list(run.made_of.values())[-1] if stage.kind == "merge" else None
    code = {name: run.code[name] for name in own_names(run.recipe, stage) if name in run.code}
    return digest(stage.model_dump(mode="json"), shared, run.hashes, corpus, read, before, code, telechat.__version__)


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


def _same_machine(manifest: dict[str, Any], recipe: Recipe, folder: Path) -> None:
    here, there = machine(recipe), dict(manifest)
    for known in (here, there):
        known |= known.pop("versions", {})
    for key, value in here.items():
        if there.get(key) != value:
            raise UserError(
                f"{folder}: {'was' if folder.exists() else 'what comes before it was'} made with {key} {there.get(key)}, here "
                f"it is {value}; the result would not be bit for bit the same. Go on there, or say --any-machine"
            )


class _Clock:
    """Seconds spent in a stage, summed over restarts, and the most memory that any of them took: written as it works."""

    def __init__(self, file: Path) -> None:
        self.file = file
        known = read_json(file) if file.exists() else {}
        self.before = known.get("seconds", 0.0)
        self.peak_before = known.get("peak_rss_bytes", 0)
        self.begun = time.monotonic()

    def seconds(self) -> float:
        return self.before + time.monotonic() - self.begun

    def peak(self) -> int:
        return max(self.peak_before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)

    def save(self) -> None:
        write_json(self.file, {"seconds": round(self.seconds(), 3), "peak_rss_bytes": self.peak()})


def _work(run: Run, stage: Stage, folder: Path, manifest: dict[str, Any]) -> None:
    """Run one stage, judge its model, complete its manifest."""
    watch = _Clock(folder / "clock.json")
    recipe = run.recipe

    def rollouts(model: nn.Module) -> Rollouts:
        return _rollouts(run, model)

    def score(model: nn.Module, split: str, count: int, kinds: Sequence[str]) -> dict[str, float]:
        params = RolloutParams(recipe.evaluation.base_max_tokens, 0.0, turns=recipe.evaluation.turns)
        watch.save()
        shown = functools.partial(run.progress.update, f"{stage.name}: {split}")
        return evaluate(functools.partial(rollouts(model), progress=shown), kinds, split, count, params)[0]

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
        metrics |= _judge(run, stage, folder)
    watch.save()
    manifest |= {
        "state": "complete",
        "seconds": round(watch.seconds(), 2),
        "peak_rss_bytes": watch.peak(),
        "metrics": metrics,
        "judged": _owed(recipe, stage),
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


def _rollouts(run: Run, model: nn.Module) -> LocalRollouts:
    renderer = Renderer(load_tokenizer(next(iter(run.inputs.values()))), get_format(run.recipe.chat_format))
    return LocalRollouts(Engine(model, run.recipe.evaluation.slots), renderer)


# name → (split, temperature, top_p)
_EVALUATIONS = {
    "scores": ("heldout", 0.0, 1.0),
    "transfer": ("transfer", 0.0, 1.0),
    "scores_sampled": ("heldout", CARD_TEMPERATURE, CARD_TOP_P),
}


def _owed(recipe: Recipe, stage: Stage) -> dict[str, int]:
    """How many tasks of each kind judge a stage's model, by what is measured."""
    if stage.kind in ("tokenizer", "reward_model"):
        return {}
    settings = recipe.evaluation
    last = stage.name == recipe.stages[-1].name
    final_rl = stage.kind == "rl" and stage.name == [s for s in recipe.stages if s.kind == "rl"][-1].name
    owed = {"scores": settings.heldout if last or final_rl or stage.kind == "sft" else settings.between}
    if last:
        owed |= {"transfer": settings.transfer, "scores_sampled": settings.sampled}
    return {name: number for name, number in owed.items() if number}


def _judge(run: Run, stage: Stage, folder: Path) -> dict[str, Any]:
    """Held-out scores of a stage's model; at the end also transfer and the card's sampling. What was measured before
    on as many tasks is read."""
    settings = run.recipe.evaluation
    owed = _owed(run.recipe, stage)
    file = folder / "scores.json"
    known: dict[str, Any] = read_json(file) if file.exists() else {"tasks": {}}
    found: dict[str, Any] = {"tasks": owed, **{n: known[n] for n in owed if known["tasks"].get(n) == owed[n] and n in known}}
    if not owed:
        return {}
    acting = _rollouts(run, load_model(folder / "model", device=training_device()))
    kinds = run.recipe.kinds
    short = stage.kind in ("pretrain", "merge")
    limit = settings.base_max_tokens if short else settings.max_tokens
    for name, number in owed.items():
        if name in found:
            continue
        split, temperature, top_p = _EVALUATIONS[name]
        run.progress.note(f"{run.progress.prefix}{stage.name}: {name} on {number} {split} tasks of each of {len(kinds)} kinds")
        params = RolloutParams(limit, temperature, top_p, seed=run.recipe.seed, turns=settings.turns)
        shown = functools.partial(run.progress.update, f"{stage.name}: {name}")
        found[name], seen = evaluate(functools.partial(acting, progress=shown), kinds, split, number, params)
        if name == "scores":
            write_jsonl(
                folder / "data" / "answers.jsonl",
                (_answer(t, a) for i, (t, a) in enumerate(seen) if i % max(1, number // 8) == 0),
            )
        write_json(file, found)
    multi = [k for k in kinds if get_kind(k).multi_turn]
    if stage.kind == "agentic_rl" and "scores" in found and multi:
        before = _scores_before_agents(run, stage)
        found["start"] = round(sum(before.get(k, 0.0) for k in multi) / len(multi), 4) if before else None
        found["end"] = round(sum(found["scores"][k] for k in multi) / len(multi), 4)
    return found


def _scores_before_agents(run: Run, stage: Stage) -> dict[str, float]:
    """Of the last judged stage before the agent stages, of which `stage` is the last."""
    before = run.recipe.stages[: [s.name for s in run.recipe.stages].index(stage.name)]
    index = next((i for i, s in enumerate(before) if s.kind == "agent_sft"), len(before))
    for i in range(index - 1, -1, -1):
        scores = read_json(stage_folder(run.out, i, run.recipe.stages[i]) / "manifest.json")["metrics"].get("scores")
        if scores:
            return scores
    return {}


def _answer(task: Task, trajectory: Trajectory) -> dict[str, Any]:
    return {
        **trajectory.to_dict(),
        "kind": task.kind,
        "prompt": [m.to_dict() for m in task.messages],
        "passed": bool(trajectory.verdict and trajectory.verdict.passed),
    }
