"""Checkpoint folders that are not what they should be: one clear line each, and no code of others runs."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from telechat.cli import doctor, render, serve
from telechat.core.errors import UserError
from telechat.models.examine import examine
from telechat.models.loading import load_config, load_model, load_tokenizer
from tests.models.published import telechat3_coder, telechat25

app = typer.Typer()
for module in (doctor, render, serve):
    app.command(module.__name__.rpartition(".")[2])(module.command)

YARN = {"rope_type": "telechat3-yarn", "original_max_position_embeddings": 64}


@pytest.fixture
def coder(tmp_path):
    return telechat3_coder(tmp_path / "coder")


@pytest.fixture
def classic(tmp_path):
    return telechat25(tmp_path / "classic")


def change(folder, name="config.json", **fields):
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


CODE = "open({!r}, 'w').write('ran')\nfrom transformers import LlamaConfig as {}\n"


@pytest.mark.parametrize("command", ["render", "doctor", "load"])
@pytest.mark.parametrize("model_type", ["telechat3", "unheard-of"])
def test_code_in_a_folder_neither_runs_nor_is_asked_for(coder, tmp_path, command, model_type):
    """Not even where somebody sits at a terminal and would say yes."""
    mark = tmp_path / "ran"
    change(coder, model_type=model_type, auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"})
    change(coder, "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map={"AutoTokenizer": ["own.Own", None]})
    (coder / "own.py").write_text(CODE.format(str(mark), "Own"))
    (tmp_path / "m.json").write_text(json.dumps([{"role": "user", "content": "hi"}]))
    arguments = {
        "render": ["-m", "telechat", "render", "--model", str(coder), "--messages", str(tmp_path / "m.json")],
        "doctor": ["-m", "telechat", "doctor", str(coder)],
        "load": ["-c", f"import telechat; telechat.load({str(coder)!r})"],
    }[command]
    ours, theirs = pty.openpty()
    os.write(ours, b"y\n" * 20)
    done = subprocess.run([sys.executable, *arguments], stdin=theirs, capture_output=True, text=True, timeout=120, check=False)
    os.close(theirs)
    os.close(ours)
    assert not mark.exists()
    assert "[y/N]" not in done.stdout + done.stderr
    if command != "load":
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("config.json", {"hidden_size": "64"}, "hidden_size"),
        ("config.json", {"hidden_size": None}, "hidden_size"),
        ("config.json", {"max_position_embeddings": "x"}, "max_position_embeddings"),
        ("config.json", {"rope_scaling": [1]}, "rope_scaling"),
        ("config.json", {"rope_scaling": "yarn"}, "rope_scaling"),
        ("config.json", {"rope_scaling": {**YARN, "factor": "4"}}, "factor is '4'"),
        ("config.json", {"rope_scaling": YARN}, "factor is None"),
        ("config.json", {"rope_scaling": {"rope_type": "foo", "factor": 2.0}}, "foo"),
        ("config.json", {"num_attention_heads": 0}, "num_attention_heads"),
        ("model.safetensors.index.json", {"weight_map": []}, "weight_map"),
        ("model.safetensors.index.json", {"weight_map": {"a": 5}}, "weight_map"),
    ],
)
def test_doctor_and_loading_say_what_is_wrong(coder, file, fields, message):
    change(coder, file, **fields)
    found = examine(coder)
    assert not found.loads
    assert message in " ".join(found.problems)
    with pytest.raises(UserError, match=r"coder: ") as caught:
        load_model(coder)
    assert "\n" not in str(caught.value)


def test_a_telechat2_without_heads(classic):
    change(classic, n_head=None)
    assert "n_head" in " ".join(examine(classic).problems)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("text", ["[]", "{", "nonsense", '{"a": ' + "9" * 5000 + "}"])
def test_files_that_hold_something_else_are_named(coder, name, text):
    (coder / name).write_text(text)
    told = CliRunner().invoke(app, ["doctor", str(coder)])
    assert name in (told.output + str(told.exception or ""))
    assert told.exception is None or isinstance(told.exception, (UserError, SystemExit))


@pytest.mark.parametrize("added", [[], "x", {"x": {"content": "a"}}, {"5": "a"}, {"5": {"content": 7}}])
def test_added_tokens_that_are_none(coder, added):
    change(coder, "tokenizer_config.json", added_tokens_decoder=added)
    told = CliRunner().invoke(app, ["doctor", str(coder), "--json"])
    assert told.exception is None
    with contextlib.suppress(UserError):  # and nothing else
        load_tokenizer(coder)


def test_odd_auto_maps_and_a_broken_vocabulary(coder):
    change(coder, auto_map=["x"])
    assert examine(coder).loads
    (coder / "tokenizer.model").write_bytes(b"nonsense")
    told = CliRunner().invoke(app, ["doctor", str(coder), "--json"])
    assert not json.loads(told.output)["loads"]
    assert "no SentencePiece model" in told.output
    (coder / "tokenizer.model").unlink()
    with pytest.raises(UserError, match=r"has no tokenizer\.model"):
        load_tokenizer(coder)


def test_what_is_served_ends_where_the_rotary_scaling_does(coder):
    change(coder, max_position_embeddings=131072)
    told = CliRunner().invoke(app, ["serve", str(coder), "--engine", "vllm", "--dry-run"])
    assert "--max-model-len 256 " in told.output
    assert examine(coder).context == 256


def test_vllm_is_not_started_for_a_scaling_that_it_passes_over(classic):
    change(classic, ntk_length=32768)
    told = CliRunner().invoke(app, ["serve", str(classic), "--engine", "vllm", "--dry-run"])
    assert isinstance(told.exception, UserError)
    assert "ntk_length" in str(told.exception)
    assert CliRunner().invoke(app, ["serve", str(classic), "--engine", "sglang", "--dry-run"]).exit_code == 0


def test_telechat1_is_refused_wherever_it_turns_up(classic, tmp_path):
    change(classic, vocab_size=160256)
    (tmp_path / "m.json").write_text(json.dumps([{"role": "user", "content": "hi"}]))
    for arguments in (
        ["serve", str(classic), "--engine", "vllm", "--dry-run"],
        ["render", "--model", str(classic), "--messages", str(tmp_path / "m.json")],
    ):
        told = CliRunner().invoke(app, arguments)
        assert isinstance(told.exception, UserError), told.output
        assert "TeleChat1" in str(told.exception)
    for load in (load_config, load_tokenizer, load_model):
        with pytest.raises(UserError, match="TeleChat1"):
            load(classic)
    told = json.loads(CliRunner().invoke(app, ["doctor", str(classic), "--json"]).output)
    assert (told["what"], told["loads"], told["tokenizer"]) == ("TeleChat1", False, None)


def test_what_a_folder_has_too_much_of_is_told(coder):
    from safetensors.torch import load_file, save_file

    shard = sorted(coder.glob("*.safetensors"))[0]
    tensors = load_file(shard)
    save_file({**tensors, "model.layers.0.self_attn.q_proj.bias": next(iter(tensors.values())).clone()}, shard)
    found = examine(coder)
    assert found.loads
    assert "q_proj.bias" in " ".join(found.odd)


def test_the_parsers_are_named(coder, classic):
    told = json.loads(CliRunner().invoke(app, ["doctor", str(coder), "--json"]).output)
    assert (told["tool_call_parser"], told["reasoning_parser"]) == ("telechat3", "telechat3")
    told = json.loads(CliRunner().invoke(app, ["doctor", str(classic), "--json"]).output)
    assert (told["tool_call_parser"], told["reasoning_parser"]) == ("telechat2.5", None)
