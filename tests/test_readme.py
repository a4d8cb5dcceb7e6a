"""What the README shows runs: its Python example, its commands, both editions of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.published import telechat3_coder
from tests.tiny_recipe import TINY

ROOT = Path(__file__).parent.parent
READMES = ["README.md", "README.zh-CN.md"]


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)


def test_both_editions_have_the_same_python_examples():
    english, chinese = ([re.sub(r" *#.*", "", block) for block in blocks(name)] for name in READMES)
    assert english == chinese


def test_the_python_examples_run(tmp_path):
    """The nano recipe is replaced by the tiny one, which has the same stages, and the published model by a small one of
    its layout; everything else runs as printed."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TINY.replace("name: tiny\n", "name: tiny\nsizes: {smoke: {seed: 4}}\n"))
    training, offline, published = blocks("README.md")
    assert 'telechat.run("nano"' in training
    telechat3_coder(tmp_path / "path" / "to" / "TeleChat3-Coder-36B-Thinking")
    code = training.replace('"nano"', repr(str(recipe)), 1) + offline + published
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "nano" / "report.json").exists()


@pytest.mark.parametrize("name", READMES)
def test_every_command_and_file_that_is_named_exists(name):
    from telechat.cli import COMMANDS

    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<!from)(?:^|[\s`/])telechat ([a-z]+)(?=[\s`])", text, re.M))
    assert named <= set(COMMANDS)
    assert {"quickstart", "run", "chat", "serve", "tasks", "bench", "doctor", "render", "parse"} <= named
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"`(src/[^`]+)`", text):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"^    make ([a-z-]+)", text, re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target


def test_both_editions_have_the_same_shape():
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
    for pattern in (r"^#+ ", r"^\|", r"^```", r"^    "):
        assert len(re.findall(pattern, english, re.M)) == len(re.findall(pattern, chinese, re.M)), pattern
