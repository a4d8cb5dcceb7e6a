"""`telechat doctor FOLDER` says what a checkpoint is, whether it loads, and what is odd, without loading it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from telechat.core.errors import UserError
from telechat.models.examine import examine
from tests.models.published import add_tokenizer, telechat3_coder, telechat25


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    config |= values
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize(
    ("make", "what", "chat_format"),
    [
        (telechat25, "TeleChat2 or TeleChat2.5", "telechat2.5"),
        (telechat3_coder, "TeleChat3 or TeleChat3-Coder", "telechat3-coder"),
    ],
)
def test_a_published_checkpoint_is_explained(tmp_path, make, what, chat_format):
    folder = make(tmp_path / "model")
    command = [sys.executable, "-m", "telechat", "doctor", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["what"], told["format"], told["loads"], told["problems"]) == (what, chat_format, True, [])
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert told["parameters"] == sum(p.numel() for p in model.parameters())
    assert told["shards"] >= 2
    assert any("remote code" in line for line in told["odd"])
    assert any("files that are not here" in line for line in told["odd"])


def test_what_keeps_a_checkpoint_from_loading_is_named(tmp_path):
    folder = telechat25(tmp_path / "model")
    shard = sorted(folder.glob("*.safetensors"))[0]
    tensors = load_file(shard)
    name = sorted(tensors)[0]
    lost = dict(tensors)
    del lost[name]
    save_file(lost, shard)
    assert any(name in line for line in examine(folder).problems)
    save_file({**tensors, name: torch.zeros(3, 5)}, shard)
    assert any(name in line and "(3, 5)" in line for line in examine(folder).problems)
    shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert any("Git LFS" in line for line in examine(folder).problems)
    shard.write_bytes(b"\x00" * 20)
    assert any("download it again" in line for line in examine(folder).problems)
    shard.unlink()
    found = examine(folder)
    assert not found.loads
    assert any(shard.name in line for line in found.problems)


def test_a_first_generation_checkpoint_is_named(tmp_path):
    folder = telechat25(tmp_path / "model")
    change(folder, vocab_size=160256)
    found = examine(folder)
    assert found.what == "TeleChat1"
    assert not found.loads
    assert any("TeleChat1" in line for line in found.problems)


def test_an_architecture_that_nobody_knows(tmp_path):
    folder = telechat25(tmp_path / "model")
    change(folder, model_type="telechat9")
    found = examine(folder)
    assert not found.loads
    assert "telechat9" in found.problems[0]


@pytest.mark.parametrize(
    ("make", "values", "said"),
    [
        (telechat25, {"layer_norm_epsilon": 1e-8}, "1e-08"),
        (telechat3_coder, {"max_position_embeddings": 1024}, "longer than the rotary scaling"),
        (telechat3_coder, {}, "1.09704"),
    ],
)
def test_oddities_of_the_configuration(tmp_path, make, values, said):
    folder = make(tmp_path / "model")
    change(folder, **values)
    found = examine(folder)
    assert found.loads
    assert any(said in line for line in found.odd), found.odd


def test_pickles_are_named_and_tokens_that_disagree(tmp_path):
    folder = telechat3_coder(tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(b"")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    pieces = {"</think>": "", "<think>": ""}
    from telechat.models.tokenization import read_pieces

    ids = {piece: i for i, (piece, _, _) in enumerate(read_pieces(folder / "tokenizer.model"))}
    swapped = {str(ids["<think>"]): {"content": "</think>"}, str(ids["</think>"]): {"content": "<think>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "added_tokens_decoder": swapped}))
    odd = examine(folder).odd
    assert any("pytorch_model.bin" in line for line in odd)
    assert sum(piece in line and "tokenizer.model" in line for piece in pieces for line in odd) >= 2


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        examine(tmp_path)


def test_pieces_are_those_of_the_published_vocabularies(tmp_path):
    from transformers import AutoTokenizer

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "telechat3"}))
    size = add_tokenizer(tmp_path, "Telechat3Tokenizer", thinks=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    assert len(tokenizer) == size
    assert tokenizer.chat_template  # the family's, where a checkpoint brings none
