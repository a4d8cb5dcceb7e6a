"""Small checkpoints in the layout in which the family is published: sharded weights under the published names,
`tokenizer.model`, settings that name remote code which is not there."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

from tests.models.family import telechat3
from tests.models.test_telechat2 import checkpoint

SPECIAL = ["<_user>", "<_bot>", "<_system>", "<_observation>", "<_sep>"]
TAGS = ["</think>", "<think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
SIZE = 600


@cache
def sentencepiece_model(thinks: bool) -> bytes:
    """A BPE model with the settings and the special pieces of the published ones."""
    import sentencepiece

    text = [
        "生抽和酱油的区别是什么？生抽颜色浅，老抽颜色深。",
        "def add(a, b):\n    return a + b",
        "What is the weather in Paris?",
    ] * 20
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=made, model_type="bpe", vocab_size=SIZE, hard_vocab_limit=False,
        byte_fallback=True, split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        unk_piece="<_unk>", bos_piece="<_start>", eos_piece="<_end>", pad_piece="<_pad>", unk_id=0, bos_id=1, eos_id=2,
        pad_id=3, control_symbols=SPECIAL + (TAGS if thinks else []), user_defined_symbols=[*"0123456789", "\n", "\t"],
        minloglevel=2,
    )  # fmt: skip
    return made.getvalue()


def add_tokenizer(folder: Path, name: str, thinks: bool, template: str | None = None) -> int:
    """Put a tokenizer of the class `name` into `folder`, as published; returns the number of its pieces."""
    import sentencepiece

    data = sentencepiece_model(thinks)
    (folder / "tokenizer.model").write_bytes(data)
    settings = {
        "tokenizer_class": name, "auto_map": {"AutoTokenizer": [f"tokenization_{name.lower()}.{name}", None]},
        "bos_token": "<_start>", "eos_token": "<_end>", "pad_token": "<_pad>", "unk_token": "<_unk>",
        "add_bos_token": False, "add_eos_token": False, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return sentencepiece.SentencePieceProcessor(model_proto=data).get_piece_size()


def telechat25(folder: Path) -> Path:
    """A TeleChat2.5: architecture and weight names as published, no chat template, sampling settings."""
    checkpoint(folder, "TeleChat2ForCausalLM", vocabulary=1024, seq_length=1024, training_seqlen=1024, base_seqlen=1024)
    add_tokenizer(folder, "TelechatTokenizer", thinks=False)
    settings = {
        "max_new_tokens": 12,
        "do_sample": False,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "user_token_id": 4,
        "bot_token_id": 5,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def telechat3_coder(folder: Path) -> Path:
    """A TeleChat3-Coder with its chat template."""
    from telechat.chat.formats import get_format
    from telechat.chat.template import chat_template

    folder.mkdir(parents=True, exist_ok=True)
    telechat3(vocab_size=1024).save_pretrained(folder, max_shard_size="100KB")
    config = json.loads((folder / "config.json").read_text())
    scaling = {"rope_type": "telechat3-yarn", "type": "telechat3-yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    config |= {"rope_scaling": scaling, "rope_theta": 1e6, "architectures": ["Telechat3ForCausalLM"]}
    config.pop("rope_parameters", None)
    code = {
        "AutoConfig": "configuration_telechat3.Telechat3Config",
        "AutoModelForCausalLM": "modeling_telechat3.Telechat3ForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": code}))
    add_tokenizer(folder, "Telechat3Tokenizer", thinks=True, template=chat_template(get_format("telechat3-coder")))
    return folder
