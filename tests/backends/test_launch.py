"""One line starts an engine with every flag that a checkpoint needs."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from setuptools import find_packages

from telechat.chat.formats import get_format
from telechat.chat.template import chat_template
from telechat.cli import main
from tests.models.published import telechat3_coder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkpoint(tmp_path):
    return telechat3_coder(tmp_path / "model")


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def serve(capsys):
    """The command in this process."""

    def call(*arguments: object) -> Done:
        code = 0
        capsys.readouterr()
        try:
            main(["serve", *map(str, arguments)])
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return Done(code, out.out, out.err)

    return call


def flags(line: str) -> dict[str, str]:
    words = shlex.split(line)
    return {w: words[i + 1] if i + 1 < len(words) else "" for i, w in enumerate(words) if w.startswith("--")}


def test_vllm_gets_parsers_context_and_parallelism(serve, checkpoint):
    done = serve(checkpoint, "--engine", "vllm", "--tensor-parallel-size", 4, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout)[:3] == ["vllm", "serve", str(checkpoint)]
    found = flags(done.stdout)
    config = json.loads((checkpoint / "config.json").read_text())
    assert found["--max-model-len"] == str(config["max_position_embeddings"])
    assert found["--tensor-parallel-size"] == "4"
    assert found["--tool-call-parser"] == found["--reasoning-parser"] == "telechat3"
    assert "--enable-auto-tool-choice" in found
    assert "--chat-template" not in found  # the checkpoint has its own


@pytest.mark.parametrize(
    ("fmt", "tool", "reasoning"), [("telechat2.5", "telechat2.5", None), ("t1", "telechat2.5", "telechat3")]
)
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_another_format_brings_its_template_and_parsers(serve, checkpoint, tmp_path, monkeypatch, fmt, tool, reasoning, engine):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = serve(checkpoint, "--engine", engine, "--format", fmt, "--dry-run")
    assert done.returncode == 0, done.stderr
    found = flags(done.stdout)
    assert found["--tool-call-parser"] == tool
    assert found.get("--reasoning-parser") == reasoning
    assert Path(found["--chat-template"]).read_text() == chat_template(get_format(fmt))


def test_a_longer_context_than_the_checkpoint_holds_is_refused(serve, checkpoint):
    done = serve(checkpoint, "--engine", "vllm", "--context", 131072, "--dry-run")
    assert done.returncode == 2
    assert "131072" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_options_of_the_engines_own_are_handed_on_and_stand_last(serve, checkpoint, engine):
    done = serve(checkpoint, "--engine", engine, "--dry-run", "--", "--seed", "7", "--enable-x")
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout)[-3:] == ["--seed", "7", "--enable-x"]


def test_the_native_engine_has_no_further_options(serve, checkpoint):
    done = serve(checkpoint, "--", "--seed", "7")
    assert done.returncode == 2
    assert "--seed" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_engine_that_is_not_installed_says_so(serve, checkpoint, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = serve(checkpoint, "--engine", "vllm")
    assert done.returncode == 2
    assert "telechat[vllm]" in done.stderr


def test_an_unknown_engine_names_those_there_are(serve, checkpoint):
    done = serve(checkpoint, "--engine", "vlm", "--dry-run")
    assert done.returncode == 2
    assert "vllm" in done.stderr


def test_the_command_becomes_the_engine_and_the_key_stays_off_its_command_line(checkpoint, tmp_path):
    fake = tmp_path / "bin" / "vllm"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@"\necho "key=$VLLM_API_KEY"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
    command = [sys.executable, "-m", "telechat", "serve", str(checkpoint), "--engine", "vllm", "--api-key", "s3cret"]
    env = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    arguments, key = done.stdout.strip().splitlines()
    assert arguments.startswith(f"serve {checkpoint}")
    assert "s3cret" not in arguments
    assert key == "key=s3cret"


def test_defect_01_an_installation_holds_the_plugins_that_its_entry_points_name():
    """The published patch's `find_packages` found nothing: an installation without `-e` was empty."""
    points = metadata.distribution("telechat").entry_points
    named = {point.group: point.value for point in points if point.group in ("vllm.general_plugins", "sglang.srt.plugins")}
    assert set(named) == {"vllm.general_plugins", "sglang.srt.plugins"}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert settings == {"where": ["src"]}
    packaged = find_packages(str(ROOT / "src"))
    for value in named.values():
        module, _, function = value.partition(":")
        assert module.rpartition(".")[0] in packaged
        assert f"def {function}(" in (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").read_text()


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_defect_31_no_flag_that_is_gone_and_no_crutch(serve, checkpoint, engine):
    """`--enable-reasoning` is no flag any more, and the template needs no `--chat-template-content-format`."""
    line = serve(checkpoint, "--engine", engine, "--dry-run").stdout
    assert "--enable-reasoning" not in line
    assert "content-format" not in line
    assert "--trust-remote-code" not in line


def test_the_page_comes_with_the_engine_unless_it_is_not_wanted(serve, checkpoint):
    assert (
        flags(serve(checkpoint, "--engine", "vllm", "--dry-run").stdout)["--middleware"]
        == "telechat.backends.playground.Playground"
    )
    assert "telechat.backends.sglang_server" in serve(checkpoint, "--engine", "sglang", "--dry-run").stdout
    for engine in ("vllm", "sglang"):
        assert "telechat.backends" not in serve(checkpoint, "--engine", engine, "--no-playground", "--dry-run").stdout
