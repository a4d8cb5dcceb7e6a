"""The same recipe file on a CUDA device: every stage, and going on after an interruption."""

from __future__ import annotations

import json
import math

import pytest

import telechat
from telechat.core.progress import Progress
from telechat.core.recipe import STAGE_KINDS
from telechat.core.recipe_file import read_recipe
from telechat.pipeline import run_recipe
from tests.test_pipeline import kill_and_resume, signal, weights
from tests.tiny_recipe import TINY

pytestmark = pytest.mark.gpu


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


def check(out):
    report = json.loads((out / "report.json").read_text())
    assert report["machine"]["accelerator"]
    assert {stage["kind"] for stage in report["stages"]} == set(STAGE_KINDS)
    for file in out.glob("stages/*/metrics.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
        assert all(math.isfinite(row["loss"]) for row in rows)
    losses = [json.loads(line)["loss"] for line in next(out.glob("stages/*general/metrics.jsonl")).read_text().splitlines()]
    assert losses[-1] < losses[0]


def test_every_stage_runs_and_the_model_answers_also_after_kills(recipe_file, tmp_path):
    run_recipe(read_recipe(str(recipe_file)), tmp_path / "run", progress=Progress(quiet=True))
    check(tmp_path / "run")
    model = telechat.load(tmp_path / "run")
    assert model.model.device.type == "cuda"
    assert model.chat("What is 2 + 3?").role == "assistant"
    kill_and_resume(recipe_file, tmp_path / "killed", kills=3, seconds=(12, 18), sign=signal.SIGKILL)
    check(tmp_path / "killed")
    assert weights(tmp_path / "killed") == weights(tmp_path / "run")
