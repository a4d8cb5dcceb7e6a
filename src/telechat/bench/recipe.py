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

from telechat.core.files import read_json
from telechat.core.progress import Progress
from telechat.core.recipe import Recipe, SftStage
from telechat.core.recipe_file import read_recipe
from telechat.machine import quickstart_seconds
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
        "transfer_mean": list(report["transfer"].values())[-1]["mean"],
        "gemm_gflops": report["machine"]["gemm_gflops"],
        "budget_seconds": round(quickstart_seconds(report["machine"]["gemm_gflops"])),
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
    rl stages and the reward model took; once from the full rate of sft again, which had fallen to nearly zero, and once
    from a fifth of it (`continued_sft_slower`). `one_path`: sft with the gold path only, as many steps, then the same
    rl stages.
    """
    progress = progress or Progress()
    rows = []
    for seed in seeds:
        whole, folder, report = base_run(out, seed, size, progress)
        steps = _steps_for_the_time_of_rl(whole, folder)
        progress.note(f"continued sft, seed {seed}: {steps} steps")
        more, slower = (
            _variant(_continued(whole, steps, share), whole, folder, out / f"seed-{seed}-{name}", progress)
            for name, share in (("continued-sft", 1.0), ("continued-sft-slower", 0.2))
        )
        single = _variant(_one_path(whole), whole, folder, out / f"seed-{seed}-one-path", progress)
        figures = _figures(whole, report)
        sft, rl = _last(whole, "sft"), _last(whole, "rl")
        rows.append(
            {
                "seed": seed,
                "sft": report["scores"][sft]["mean"],
                "rl": report["scores"][rl]["mean"],
                "continued_sft": more["scores"]["sft-more"]["mean"],
                "continued_sft_slower": slower["scores"]["sft-more"]["mean"],
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


def _steps_for_the_time_of_rl(whole: Recipe, folder: Path) -> int:
    """How many steps sft makes in the time that the rl stages trained and the reward model sampled and trained."""
    index, sft = _sft(whole)
    folders = {i: stage_folder(folder, i, s) for i, s in enumerate(whole.stages)}
    rl = sum(_training_seconds(folders[i]) for i, s in enumerate(whole.stages) if s.kind == "rl")
    judges = [i for i, s in enumerate(whole.stages) if s.kind == "reward_model"]
    model = sum(read_json(folders[i] / "manifest.json")["seconds"] for i in judges)
    return max(1, round((rl + model) / _training_seconds(folders[index]) * sft.steps))


def _continued(whole: Recipe, steps: int, share: float) -> Recipe:
    """The recipe up to sft, then `steps` more on the same problems at `share` of its rate."""
    index, sft = _sft(whole)
    optimizer = sft.optimizer.model_copy(update={"lr": share * sft.optimizer.lr})
    more = sft.model_copy(update={"name": "sft-more", "steps": steps, "data_from": sft.name, "optimizer": optimizer})
    return whole.model_copy(update={"stages": [*whole.stages[: index + 1], more]})


def _sft(whole: Recipe) -> tuple[int, SftStage]:
    return next((i, s) for i, s in enumerate(whole.stages) if isinstance(s, SftStage))


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
