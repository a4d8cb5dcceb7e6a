"""A run keeps its promises: resumable to the bit, skipped when done, refused when it cannot be the same."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from telechat.core.errors import UserError
from telechat.core.files import file_digest, read_jsonl
from telechat.core.progress import Progress
from telechat.core.recipe import STAGE_KINDS
from telechat.core.recipe_file import read_recipe
from telechat.core.types import Trajectory
from telechat.pipeline import run_recipe
from telechat.tasks.registry import generate, verify
from tests.tiny_recipe import TINY


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="module")
def finished(recipe_file, tmp_path_factory) -> Path:
    """An uninterrupted run of the tiny recipe."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run_recipe(read_recipe(str(recipe_file)), out, progress=Progress(quiet=True))
    return out


def weights(out: Path) -> dict[str, str]:
    return {f.parent.parent.name: file_digest(f) for f in sorted(out.glob("stages/*/model/model.safetensors"))}


def scores(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())["scores"]


def test_the_report_holds_what_the_contract_says(finished):
    report = json.loads((finished / "report.json").read_text())
    assert {"recipe", "seed", "seconds", "peak_rss_bytes", "machine", "stages", "scores"} <= set(report)
    assert report["machine"]["gemm_gflops"] > 0
    assert {s["kind"] for s in report["stages"]} == set(STAGE_KINDS)
    by_kind = {s["kind"]: s for s in report["stages"]}
    for stage in report["stages"]:
        assert stage["seconds"] > 0
        assert stage["model"] is None or (finished / stage["model"] / "config.json").exists()
    assert {"bits_per_byte", "tokens", "difficulty"} <= set(by_kind["pretrain"]["metrics"])
    assert {"parents", "weights", "fused", "best_parent", "uniform", "kept"} <= set(by_kind["merge"]["metrics"])
    assert {"pair_accuracy", "by_kind"} <= set(by_kind["reward_model"]["metrics"])
    assert {"start", "end"} <= set(by_kind["agentic_rl"]["metrics"])
    for found in report["scores"].values():
        assert set(found) == {"mean", "addition", "code", "call_single", "tool_lookup"}
        assert all(0 <= v <= 1 for v in found.values())
    assert "<svg" in (finished / "report.html").read_text()


def test_what_agents_learned_from_is_judged_right_again(finished):
    rows = read_jsonl(finished / "stages" / "08-agent-sft" / "data" / "trajectories.jsonl")
    found = [Trajectory.from_dict(row) for row in rows]
    assert any("tool_lookup" in t.task_id for t in found)
    for trajectory in found:
        kind, split, seed, index = trajectory.task_id.split("/")
        assert verify(generate(kind, split, int(seed), int(index)), trajectory.messages).passed
        assert trajectory.verdict.passed


def test_difficulty_rises_from_stage_to_stage(finished):
    report = json.loads((finished / "report.json").read_text())
    found = [s["metrics"]["difficulty"] for s in report["stages"] if s["kind"] == "pretrain"]
    assert found == sorted(found)
    assert len(set(found)) == len(found)


def test_fusion_weights_sum_to_one_and_rise_with_the_dev_score(finished):
    merge = next(s for s in json.loads((finished / "report.json").read_text())["stages"] if s["kind"] == "merge")["metrics"]
    assert sum(merge["weights"].values()) == pytest.approx(1, abs=1e-3)
    ordered = sorted(merge["weights"], key=lambda n: merge["dev"][n])
    assert [merge["weights"][n] for n in ordered] == sorted(merge["weights"].values())


def test_a_second_start_does_nothing_and_says_the_same(finished, recipe_file):
    before, report = weights(finished), (finished / "report.json").read_text()
    changed = {f: f.stat().st_mtime_ns for f in finished.glob("stages/**/*") if f.is_file()}
    again = run_recipe(read_recipe(str(recipe_file)), finished, progress=Progress(quiet=True))
    assert weights(finished) == before
    assert {f: f.stat().st_mtime_ns for f in finished.glob("stages/**/*") if f.is_file()} == changed
    assert json.loads(report) == again


def test_a_changed_stage_and_what_follows_run_again(finished, recipe_file, tmp_path):
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    before = weights(out)
    run_recipe(read_recipe(str(recipe_file), ["stages.agent-sft.steps=7"]), out, progress=Progress(quiet=True))
    after = weights(out)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"08-agent-sft", "09-agentic-rl"}
    assert sorted(f.name.rpartition("-")[0] for f in (out / "replaced").iterdir()) == ["08-agent-sft", "09-agentic-rl"]
    second = weights(out)
    stamps = {f: f.stat().st_mtime_ns for f in out.glob("replaced/*/model/*") if f.is_file()}
    run_recipe(read_recipe(str(recipe_file)), out, progress=Progress(quiet=True))  # what was made before is taken back
    assert weights(out) == before
    assert {f.stat().st_mtime_ns for f in out.glob("stages/*/model/*")} >= set(stamps.values())
    run_recipe(read_recipe(str(recipe_file), ["stages.agent-sft.steps=7"]), out, progress=Progress(quiet=True))
    assert weights(out) == second


def test_other_numbers_of_tasks_judge_again_and_train_nothing(finished, recipe_file, tmp_path):
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    stamps = {f: f.stat().st_mtime_ns for f in out.glob("stages/*/model/*")}
    report = run_recipe(read_recipe(str(recipe_file), ["evaluation.transfer=1"]), out, progress=Progress(quiet=True))
    first = json.loads((finished / "report.json").read_text())
    assert report["scores"] == first["scores"]
    assert report["tasks"]["agentic-rl"] == {"scores": 3, "transfer": 1, "scores_sampled": 2}
    assert report["tasks"]["agent-sft"] == {"scores": 2}
    shorter = yaml.safe_load(recipe_file.read_text())
    shorter["stages"].pop()
    (tmp_path / "shorter.yaml").write_text(yaml.safe_dump(shorter))
    report = run_recipe(read_recipe(str(tmp_path / "shorter.yaml")), out, progress=Progress(quiet=True))
    assert report["tasks"]["agent-sft"] == {"scores": 3, "transfer": 2, "scores_sampled": 2}  # it is the last one now
    gone = out / "stages" / "09-agentic-rl"
    assert not gone.exists()
    assert [f.name.rpartition("-")[0] for f in (out / "replaced").iterdir()] == [gone.name]
    left = {file: stamp for file, stamp in stamps.items() if gone not in file.parents}
    assert {f: f.stat().st_mtime_ns for f in out.glob("stages/*/model/*")} == left


def test_other_versions_are_refused_inside_a_stage(recipe_file, tmp_path, monkeypatch):
    out = tmp_path / "other"
    run_recipe(read_recipe(str(recipe_file)), out, until="general", progress=Progress(quiet=True))
    manifest = out / "stages" / "01-general" / "manifest.json"
    known = json.loads(manifest.read_text())
    known |= {"state": "running", "versions": {**known["versions"], "torch": "1.0"}}
    manifest.write_text(json.dumps(known))
    with pytest.raises(UserError, match=r"torch 1\.0.*--any-machine"):
        run_recipe(read_recipe(str(recipe_file)), out, until="general", progress=Progress(quiet=True))
    run_recipe(read_recipe(str(recipe_file)), out, until="general", progress=Progress(quiet=True), any_machine=True)


def test_other_threads_are_refused_between_stages_and_lose_nothing(recipe_file, tmp_path):
    out = tmp_path / "other"
    run_recipe(read_recipe(str(recipe_file)), out, until="general", progress=Progress(quiet=True))
    before = weights(out)
    other = read_recipe(str(recipe_file), ["threads=1"])
    try:
        with pytest.raises(UserError, match=r"threads 2, here it is 1.*--any-machine"):
            run_recipe(other, out, until="dense", progress=Progress(quiet=True))
        assert weights(out) == before
        assert not (out / "replaced").exists()
        run_recipe(other, out, until="dense", progress=Progress(quiet=True), any_machine=True)
        assert weights(out).items() > before.items()
    finally:
        torch.set_num_threads(2)


def test_a_report_goes_when_what_it_reports_does(finished, recipe_file, tmp_path):
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    stopped = run_recipe(read_recipe(str(recipe_file), ["seed=4"]), out, until="tokenizer", progress=Progress(quiet=True))
    assert stopped == {}
    assert not list(out.glob("report.*"))


def start(recipe_file: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "telechat", "run", str(recipe_file), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def kill_and_resume(recipe_file: Path, out: Path, kills: int, seconds: tuple[float, float], sign: signal.Signals) -> None:
    draw = random.Random(11)
    for _ in range(kills):
        process = start(recipe_file, out)
        begun, wait = time.monotonic(), draw.uniform(*seconds)
        while process.poll() is None and time.monotonic() - begun < wait:
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(sign)
        process.wait()
        for file in out.glob("stages/*/manifest.json"):
            json.loads(file.read_text())
    assert start(recipe_file, out).wait() == 0


def test_killed_and_resumed_ends_with_the_same_bits(finished, recipe_file, tmp_path):
    out = tmp_path / "killed"
    kill_and_resume(recipe_file, out, kills=3, seconds=(8, 16), sign=signal.SIGKILL)
    assert weights(out) == weights(finished)
    assert scores(out) == scores(finished)


@pytest.mark.slow
def test_ten_kills_end_with_the_same_bits_in_twice_the_time(finished, recipe_file, tmp_path):
    def seconds(work: Callable[[], object]) -> float:
        begun = time.monotonic()
        work()
        return time.monotonic() - begun

    whole = seconds(lambda: start(recipe_file, tmp_path / "whole").wait())
    again = seconds(lambda: start(recipe_file, tmp_path / "whole").wait())
    out = tmp_path / "killed"
    killed = seconds(lambda: kill_and_resume(recipe_file, out, kills=10, seconds=(5, 12), sign=signal.SIGKILL))
    assert killed <= 2 * whole + 10 * again
    assert weights(out) == weights(finished)
    assert scores(out) == scores(finished)


def test_interrupted_from_the_keyboard_goes_on(finished, recipe_file, tmp_path):
    out = tmp_path / "interrupted"
    kill_and_resume(recipe_file, out, kills=1, seconds=(10, 12), sign=signal.SIGINT)
    assert weights(out) == weights(finished)


def test_another_thread_count_is_refused_in_the_middle_of_a_stage(finished, recipe_file, tmp_path):
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    file = out / "stages" / "09-agentic-rl" / "manifest.json"
    manifest = json.loads(file.read_text()) | {"state": "running", "threads": 64}
    file.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="threads 64"):
        run_recipe(read_recipe(str(recipe_file)), out, progress=Progress(quiet=True))


def test_an_easier_stage_is_refused(recipe_file, tmp_path):
    recipe = read_recipe(str(recipe_file), ["stages.dense.mixture={stdlib.code: 0.7, stdlib.docs: 0.3}"])
    with pytest.raises(UserError, match="not above its predecessor"):
        run_recipe(recipe, tmp_path / "out", until="dense", progress=Progress(quiet=True))


def test_until_stops_and_the_next_start_goes_on(recipe_file, tmp_path):
    out = tmp_path / "out"
    assert run_recipe(read_recipe(str(recipe_file)), out, until="general", progress=Progress(quiet=True)) == {}
    assert (out / "stages" / "01-general" / "model" / "config.json").exists()
    assert not (out / "stages" / "02-dense").exists()


@pytest.mark.parametrize("mixture", ["{nonsense: 1}", "{chat.poetry: 1}"])
def test_an_unknown_source_is_named(recipe_file, tmp_path, mixture):
    with pytest.raises(UserError, match=r"nonsense|poetry"):
        run_recipe(
            read_recipe(str(recipe_file), [f"stages.general.mixture={mixture}"]),
            tmp_path / "out",
            progress=Progress(quiet=True),
        )
