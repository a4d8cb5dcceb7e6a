"""Models by name: fetched from a hub, resumed, checked, found again without a network."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from telechat.core.errors import UserError
from telechat.models.hub import licence_note, parse_name
from tests.models.hub_server import Hub

NAME = "Tele-AI/TeleChat3-Tiny"
needs_modelscope = pytest.mark.skipif(not importlib.util.find_spec("modelscope"), reason="modelscope is not installed")
clients = pytest.mark.parametrize("source", ["hf", pytest.param("modelscope", marks=needs_modelscope)])


@pytest.fixture
def hub(tmp_path, model, tokenizer):
    """A hub with one small model, and things beside it that must not be fetched."""
    folder = tmp_path / "hub"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "modeling_telechat3.py").write_text("raise RuntimeError('remote code')")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    with Hub(folder, NAME) as server:
        yield server
        server.shutdown()


def telechat(hub: Hub, home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """The command in a process of its own, with the hub's address and a cache of its own."""
    env = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
        "MODELSCOPE_ENDPOINT": hub.url, "MODELSCOPE_DOMAIN": hub.url, "MODELSCOPE_CACHE": str(home / "ms"),
        "MODELSCOPE_HOME": str(home / "ms-home"), "XDG_STATE_HOME": str(home / "state"), "NO_PROXY": "127.0.0.1",
        **environment,
    }  # fmt: skip
    command = [sys.executable, "-m", "telechat", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)


@clients
def test_a_model_is_fetched_without_code_and_pickles_and_its_licence_is_told_once(hub, tmp_path, source):
    done = telechat(hub, tmp_path, "pull", NAME, "--from", source, "--json")
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout)["folder"])
    got = {p.name for p in folder.iterdir() if p.is_file()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= got
    assert not {name for name in got if name.endswith((".py", ".bin"))}
    assert (folder / "model.safetensors").read_bytes() == hub.files()["model.safetensors"]
    assert "apache-2.0" in done.stderr
    assert "tele_ai@chinatelecom.cn" in done.stderr
    again = telechat(hub, tmp_path, "pull", NAME, "--from", source)
    assert again.returncode == 0
    assert "licence" not in again.stderr


@clients
def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub, tmp_path, source):
    target = tmp_path / "model"
    hub.cut = {"model.safetensors": 1}
    done = telechat(hub, tmp_path, "pull", NAME, "--from", source, "--out", str(target))
    assert done.returncode == 0, done.stderr
    first, *later = [asked for name, asked in hub.asked if name == "model.safetensors"]
    assert first is None
    assert later
    if source == "modelscope":  # the other client goes on in steps of 10 MB, which is more than this model
        assert all(asked and not asked.startswith("bytes=0-") for asked in later), later
    assert (target / "model.safetensors").read_bytes() == hub.files()["model.safetensors"]


@pytest.mark.parametrize("source", ["hf", pytest.param("modelscope", marks=[pytest.mark.slow, needs_modelscope])])
def test_an_interrupted_download_keeps_what_is_whole(hub, tmp_path, source):
    target = tmp_path / "model"
    hub.cut = {"model.safetensors": 99}
    broken = telechat(hub, tmp_path, "pull", NAME, "--from", source, "--out", str(target))
    assert broken.returncode == 2
    assert "Traceback" not in broken.stderr
    assert not (target / "model.safetensors").exists()
    hub.cut, hub.asked = {}, []
    done = telechat(hub, tmp_path, "pull", NAME, "--from", source, "--out", str(target))
    assert done.returncode == 0, done.stderr
    assert {name for name, _ in hub.asked} == {"model.safetensors"}
    assert (target / "model.safetensors").read_bytes() == hub.files()["model.safetensors"]


@clients
def test_wrong_bytes_are_noticed_and_fetched_again(hub, tmp_path, source):
    hub.spoiled = {"model.safetensors": 1}
    done = telechat(hub, tmp_path, "pull", NAME, "--from", source, "--out", str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == hub.files()["model.safetensors"]


@clients
def test_bytes_that_stay_wrong_end_in_one_line(hub, tmp_path, source):
    hub.spoiled = {"model.safetensors": 99}
    done = telechat(hub, tmp_path, "pull", NAME, "--from", source, "--out", str(tmp_path / "model"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert NAME in done.stderr.strip().splitlines()[-1]


def test_a_fetched_model_is_found_by_name_without_a_network(hub, tmp_path):
    assert telechat(hub, tmp_path, "pull", NAME).returncode == 0
    found = telechat(hub, tmp_path, "doctor", NAME, "--json", HF_HUB_OFFLINE="1")
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["loads"] is True
    assert told["model_type"] == "telechat3"


def test_a_name_that_no_hub_has_is_one_line(hub, tmp_path):
    done = telechat(hub, tmp_path, "doctor", "nobody/nothing")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nobody/nothing" in done.stderr
    assert "Hugging Face" in done.stderr


@pytest.mark.parametrize(
    ("model", "parsed"),
    [
        ("Tele-AI/TeleChat3-36B", ("hf", "Tele-AI/TeleChat3-36B")),
        ("hf:a/b", ("hf", "a/b")),
        ("modelscope:TeleAI/TeleChat2.5-35B", ("modelscope", "TeleAI/TeleChat2.5-35B")),
        ("other:a/b", None),
        ("model", None),
        ("./a/b", None),
        ("../a", None),
        ("/a/b", None),
        ("a/b/c", None),
        ("a/", None),
    ],
)
def test_what_counts_as_a_hub_name(model, parsed):
    assert parse_name(model) == parsed


def test_modelscope_without_its_client_says_what_to_install(hub, tmp_path, monkeypatch):
    from telechat.models import hub as module

    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(UserError, match=r"telechat\[modelscope\]"):
        module.pull(NAME, "modelscope")


def test_the_licence_note_names_what_the_page_states(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "README.md").write_text("no front matter")
    assert "states none" in (licence_note(tmp_path, "other/model") or "")
    assert licence_note(tmp_path, "other/model") is None
