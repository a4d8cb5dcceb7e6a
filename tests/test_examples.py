"""The model cards' snippets run as they stand on small checkpoints in the published layout."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.models.published import telechat3_coder, telechat25

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: object) -> str:
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_telechat25_with_transformers(tmp_path):
    run("transformers_telechat25.py", telechat25(tmp_path / "model"))


def test_telechat25_offline_on_our_engine(tmp_path):
    assert "Generated text" in run("offline.py", telechat25(tmp_path / "model"), 12)


def test_telechat3_coder_with_transformers(tmp_path):
    run("transformers_coder.py", telechat3_coder(tmp_path / "model"), 12)


@pytest.mark.skipif(not importlib.util.find_spec("modelscope"), reason="modelscope is not installed")
def test_telechat25_with_modelscope(tmp_path):
    run("modelscope_telechat25.py", telechat25(tmp_path / "model"))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A server in a process of its own; yields its URL."""
    command = [sys.executable, "-m", "telechat", "serve", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in server.stderr if "serving" in line)
        yield re.search(r"(http://\S+)/v1", line)[1]
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.parametrize("make", [telechat25, telechat3_coder])
def test_the_openai_client_against_our_server(tmp_path, make):
    with served(make(tmp_path / "model")) as url:
        said = run("openai_client.py", "model", f"{url}/v1", 12)
    assert "ChatCompletion(" in said
    for tag in ("<think>", "</think>", "<_end>"):
        assert tag not in re.search(r"content=(.*?), refusal", said)[1]


def test_other_clients_against_our_server(tmp_path):
    with served(telechat25(tmp_path / "model")) as url:
        assert "Message(" in run("anthropic_client.py", "model", url, 12)
        if importlib.util.find_spec("langchain_openai"):
            assert "content=" in run("langchain_client.py", "model", f"{url}/v1", 12)


def test_configurations_of_coding_agents(tmp_path):
    codex = tomllib.loads((EXAMPLES / "agents" / "codex.toml").read_text())
    assert codex["model_providers"][codex["model_provider"]]["wire_api"] == "responses"
    script = EXAMPLES / "agents" / "claude-code.sh"
    assert os.access(script, os.X_OK)
    agent = tmp_path / "claude"
    agent.write_text("#!/bin/sh\nenv\n")
    agent.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TELECHAT_API_KEY": "secret"}
    done = subprocess.run([str(script)], env=env, capture_output=True, text=True, timeout=20, check=True)
    assert "ANTHROPIC_BASE_URL=http://127.0.0.1:8000\n" in done.stdout
    assert "ANTHROPIC_AUTH_TOKEN=secret\n" in done.stdout


def test_every_example_is_named_in_the_readme():
    readme = (EXAMPLES / "README.md").read_text()
    for file in EXAMPLES.glob("*.py"):
        assert file.name in readme
        compile(file.read_text(), file.name, "exec")
