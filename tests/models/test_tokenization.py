"""The converted tokenizers give SentencePiece's ids, and decoding gives the text back."""

from __future__ import annotations

import json
import random
import shutil
import sysconfig
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from telechat.core.errors import UserError
from telechat.models.loading import load_tokenizer
from telechat.models.tokenization import Telechat3Tokenizer, TelechatTokenizer, convert, disagreements

SHARED = Path(__file__).parents[3] / "shared" / "tokenizer"
FAMILIES = {"telechat2": TelechatTokenizer, "telechat3": Telechat3Tokenizer}


def model_file(family: str) -> Path:
    file = SHARED / family / "tokenizer.model"
    if not file.exists():
        pytest.skip(f"needs {file.name} of {family}, which is not shipped with the project")
    return file


@pytest.fixture(scope="module")
def processors():
    import sentencepiece

    found = {}
    for family in FAMILIES:
        file = model_file(family)
        found[family] = (sentencepiece.SentencePieceProcessor(str(file)), convert(file))
    return found


CHINESE = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说"
EMOJI = "😀😃🚀🎉👍🏽👨‍👩‍👧‍👦🇨🇳❤️✨"


def chunks(seed: int, count: int) -> list[str]:
    """Mixed texts: library code and prose, Chinese, numbers, spaces, emoji, random characters."""
    draw = random.Random(seed)
    library = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    out = []
    for _ in range(count):
        kind = draw.randrange(5)
        if kind == 0:
            text = draw.choice(library).read_text(encoding="utf-8", errors="replace")
            start = draw.randrange(max(1, len(text) - 4000))
            out.append(text[start : start + draw.randint(1, 4000)])
        elif kind == 1:
            out.append("".join(draw.choice(CHINESE) for _ in range(draw.randint(1, 400))))
        elif kind == 2:
            words = [
                draw.choice(["hello", "x_1", "__init__", "3.14", "1234567", "A", "\t", "  ", "\n\n", "的", "<a>", "____"])
                for _ in range(200)
            ]
            out.append(draw.choice(["", " "]).join(words))
        elif kind == 3:
            out.append("".join(draw.choice(EMOJI + CHINESE + "aB 1") for _ in range(draw.randint(1, 200))))
        else:
            out.append(
                "".join(
                    chr(draw.choice((draw.randrange(32, 127), draw.randrange(160, 0x2FFF), draw.randrange(0x4E00, 0x9FFF))))
                    for _ in range(draw.randint(1, 200))
                )
            )
    return [text for text in out if "▁" not in text]


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_those_of_sentencepiece(processors, family):
    reference, converted = processors[family]
    tokens = 0
    for text in chunks(1, 400):
        expected = reference.encode(text)
        assert converted.encode(text, add_special_tokens=False).ids == expected, text[:80]
        tokens += len(expected)
    assert tokens > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_those_of_sentencepiece_over_three_million_tokens(processors, family):
    reference, converted = processors[family]
    tokens, seed = 0, 100
    while tokens < 3_000_000:
        for text in chunks(seed, 400):
            expected = reference.encode(text)
            assert converted.encode(text, add_special_tokens=False).ids == expected, text[:80]
            tokens += len(expected)
        seed += 1


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_gives_the_text_back(processors, family):
    _, converted = processors[family]
    for text in chunks(2, 200):
        assert converted.decode(converted.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_the_facts_examples(processors):
    _, converted = processors["telechat3"]
    ids = converted.encode("生抽和酱油的区别是什么？", add_special_tokens=False).ids
    assert ids == [26038, 125922, 124462, 29257, 35765, 3600, 124527]
    assert len(converted.encode("Hello, world! TeleChat3 is a large language model.", add_special_tokens=False).ids) == 13


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("auto_map", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_auto_tokenizer_loads_a_published_folder_without_remote_code(tmp_path, family, auto_map):
    shutil.copy(model_file(family), tmp_path / "tokenizer.model")
    config = {"model_type": {"telechat2": "telechat", "telechat3": "telechat3"}[family], "vocab_size": 131072}
    (tmp_path / "config.json").write_text(json.dumps(config))
    name = FAMILIES[family].__name__
    settings = {"tokenizer_class": name, "eos_token": "<_end>", "pad_token": "<_pad>"}
    if auto_map:
        settings["auto_map"] = {"AutoTokenizer": [f"tokenization_telechat.{name}", None]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    for trust in (False, True):
        tokenizer = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=trust)
        assert type(tokenizer).__name__ == name
        assert tokenizer.convert_tokens_to_ids("<_end>") == 2
        ids = tokenizer("<_user>你好<_bot>", add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == "<_user>你好<_bot>"
        text = "def f(x_1):\n\treturn 3.14  # 圆周率 😀"
        assert tokenizer(text).input_ids == convert(tmp_path / "tokenizer.model").encode(text, add_special_tokens=False).ids
    tokenizer.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert again("def f(x):\n    return 12").input_ids == tokenizer("def f(x):\n    return 12").input_ids


def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path):
    bad = tmp_path / "tokenizer.model"
    bad.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match="no SentencePiece"):
        convert(bad)


def test_names_that_the_settings_give_to_spare_pieces_count(tmp_path):
    """The published TeleChat2-3B calls ids 9 and 10 <tool_call> and </tool_call>; no id may lie past the embedding."""
    from tests.models.published import telechat25

    folder = telechat25(tmp_path)
    before = AutoTokenizer.from_pretrained(folder)
    spare, other = before.convert_tokens_to_ids(["<_sep>", "<_observation>"])
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    token = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    settings["added_tokens_decoder"] = {
        str(spare): {"content": "<tool_call>", **token},
        str(other): {"content": "</tool_call>", **token},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == len(before)
    assert tokenizer.convert_tokens_to_ids(["<tool_call>", "</tool_call>"]) == [spare, other]
    assert tokenizer("a<tool_call>b", add_special_tokens=False).input_ids.count(spare) == 1
    assert disagreements(folder) == [
        f"id {spare} is <_sep> in tokenizer.model and <tool_call> in tokenizer_config.json",
        f"id {other} is <_observation> in tokenizer.model and </tool_call> in tokenizer_config.json",
    ]


def test_a_folder_whose_settings_name_no_class_gets_the_familys_tokenizer(tmp_path):
    from tests.models.published import telechat3_coder

    folder = telechat3_coder(tmp_path / "m")
    expected = load_tokenizer(folder)
    assert expected.response_template["fields"]["thinking"]["open"] == "<think>"
    (folder / "tokenizer_config.json").unlink()
    found = load_tokenizer(folder)
    assert type(found) is type(expected) is Telechat3Tokenizer
    text = "<_user>生抽 x_1<_bot><think>"
    assert found(text).input_ids == expected(text).input_ids
    assert found.decode(found(text, add_special_tokens=False).input_ids) == text
