"""`telechat bench quickstart` and `telechat bench recipe`: the whole recipe for several seeds, and what its parts earn.

Runs live in a folder of their own and resume like any other run; a finished one is read, not run again.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from telechat.core.progress import Progress
from telechat.core.recipe import Recipe, SftStage
from telechat.core.recipe_file import read_recipe
from telechat.pipeline import run_recipe, stage_folder
from telechat.tasks.registry import get_kind


def base_run(out: Path, seed: int, size: str | None, progress: Progress) -> tuple[Recipe, Path, dict[str, Any]]:
    """The nano recipe with `seed`, whole: its recipe, folder and report."""
    recipe = read_recipe("nano", [f"seed={seed}"], size)
    folder = out / f"seed-{seed}"
    progress.note(f"nano, seed {seed}, in {folder}")
    return recipe, folder, run_recipe(recipe, folder, progress=progress)


def quickstart(seeds: Sequence[int], out: Path, size: str | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Time, memory and the promised figures of the whole quickstart for each seed, with mean and spread."""
    progress = progress or Progress()
    rows = [_figures(*base_run(out, seed, size, progress)[::2]) for seed in seeds]
    keys = [k for k, v in rows[0].items() if isinstance(v, (int, float)) and not isinstance(v, bool) and k != "seed"]
    return {
        "seeds": rows,
        "mean": {k: round(statistics.mean(r[k] for r in rows), 4) for k in keys},
        "spread": _spread(rows, keys),
    }


def _spread(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, float]:
    """Largest minus smallest value of each figure."""
    return {k: round(max(r[k] for r in rows) - min(r[k] for r in rows), 4) for k in keys}


def _figures(recipe: Recipe, report: dict[str, Any]) -> dict[str, Any]:
    scores = report["scores"]
    sft, rl = _last(recipe, "sft"), _last(recipe, "rl")
    start, end = _before(recipe, scores, "agent_sft"), list(scores.values())[-1]
    multi = [k for k in recipe.kinds if get_kind(k).multi_turn]
    kinds = list(recipe.kinds)
    merge = next(s["metrics"] for s in report["stages"] if s["kind"] == "merge")
    model = next(s["metrics"] for s in report["stages"] if s["kind"] == "reward_model")
    return {
        "seed": recipe.seed,
        "seconds": report["seconds"],
        "peak_gb": round(report["peak_rss_bytes"] / 2**30, 3),
        "sft_mean": scores[sft]["mean"],
        "rl_mean": scores[rl]["mean"],
        "rl_lift": round(scores[rl]["mean"] - scores[sft]["mean"], 4),
        "rl_worst_loss": round(max(scores[sft][k] - scores[rl][k] for k in kinds), 4),
        "multi_turn_start": round(statistics.mean(start[k] for k in multi), 4),
        "multi_turn_end": round(statistics.mean(end[k] for k in multi), 4),
        "final_mean": end["mean"],
        "pair_accuracy": model["pair_accuracy"],
        "fused": merge["fused"],
        "best_parent": merge["best_parent"],
        "uniform": merge["uniform"],
        "kept": merge["kept"],
    }


def _last(recipe: Recipe, kind: str) -> str:
    return [s.name for s in recipe.stages if s.kind == kind][-1]


def _before(recipe: Recipe, scores: dict[str, Any], kind: str) -> dict[str, float]:
    """Scores of the last judged stage before the first stage of `kind`."""
    names = [s.name for s in recipe.stages]
    first = next(i for i, s in enumerate(recipe.stages) if s.kind == kind)
    return scores[[n for n in names[:first] if n in scores][-1]]


def recipe(seeds: Sequence[int], out: Path, size: str | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """What RL, several solution paths and weighted fusion earn: each against its alternative, mean over the kinds.

    `rl` beside `continued_sft`: the same sft checkpoint, trained on the same problems for as many seconds as the two
    rl stages trained. `several_paths` beside `one_path`: sft with the gold path only, then the same rl stages.
    """
    progress = progress or Progress()
    rows = []
    for seed in seeds:
        whole, folder, report = base_run(out, seed, size, progress)
        continued, steps = _continued(whole, folder)
        progress.note(f"continued sft, seed {seed}: {steps} steps")
        more = _variant(continued, whole, folder, out / f"seed-{seed}-continued-sft", progress)
        single = _variant(_one_path(whole), whole, folder, out / f"seed-{seed}-one-path", progress)
        figures = _figures(whole, report)
        sft, rl = _last(whole, "sft"), _last(whole, "rl")
        rows.append(
            {
                "seed": seed,
                "sft": report["scores"][sft]["mean"],
                "rl": report["scores"][rl]["mean"],
                "continued_sft": more["scores"]["sft-more"]["mean"],
                "continued_steps": steps,
                "one_path_sft": single["scores"][sft]["mean"],
                "one_path_rl": single["scores"][rl]["mean"],
                **{k: figures[k] for k in ("fused", "best_parent", "uniform")},
            }
        )
    keys = [k for k in rows[0] if k != "seed"]
    return {
        "seeds": rows,
        "mean": {k: round(statistics.mean(r[k] for r in rows), 4) for k in keys},
        "spread": _spread(rows, keys),
    }


def _training_seconds(folder: Path) -> float:
    """Of all steps, by the middle one: a run that was interrupted or shared the machine has slow steps too."""
    seconds = [json.loads(line)["seconds"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(seconds) * len(seconds)


def _continued(whole: Recipe, folder: Path) -> tuple[Recipe, int]:
    """The recipe up to sft, then more sft on the same problems for the training time of the rl stages."""
    index = next(i for i, s in enumerate(whole.stages) if s.kind == "sft")
    sft = whole.stages[index]
    assert isinstance(sft, SftStage)
    rl = sum(_training_seconds(stage_folder(folder, i, s)) for i, s in enumerate(whole.stages) if s.kind == "rl")
    steps = max(1, round(rl / _training_seconds(stage_folder(folder, index, sft)) * sft.steps))
    more = sft.model_copy(update={"name": "sft-more", "steps": steps, "data_from": sft.name})
    return whole.model_copy(update={"stages": [*whole.stages[: index + 1], more]}), steps


def _one_path(whole: Recipe) -> Recipe:
    """The recipe up to the last rl stage, with the gold path only."""
    last = max(i for i, s in enumerate(whole.stages) if s.kind == "rl")
    stages = [s.model_copy(update={"paths": 1}) if isinstance(s, SftStage) else s for s in whole.stages[: last + 1]]
    return whole.model_copy(update={"stages": stages})


def _variant(variant: Recipe, whole: Recipe, base: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """Run a variant; the stages that it shares with the base run are copied, not run."""
    for i, (stage, same) in enumerate(zip(variant.stages, whole.stages, strict=False)):
        target = stage_folder(out, i, stage)
        if stage != same:
            break
        if not target.exists():
            part = out / f"{target.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(stage_folder(base, i, stage), part)
            target.parent.mkdir(exist_ok=True)
            part.rename(target)
    return run_recipe(variant, out, progress=progress)
