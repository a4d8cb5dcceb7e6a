"""The family's tokenizers as fast tokenizers, built from the SentencePiece file that comes with a checkpoint.

The published tokenizers are slow classes of remote code, and loading their `tokenizer.model` as a Llama tokenizer gives
other ids for a quarter of ordinary texts. The conversion here is exact on text without control words: 0 differences
from SentencePiece on millions of tokens (`tests/models/test_tokenization.py`). Decoding is exact as well: no space
appears around special tokens, so nobody needs `spaces_between_special_tokens=False`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from telechat.chat.detect import known_format
from telechat.chat.formats import get_format
from telechat.chat.template import chat_template, response_template
from telechat.core.errors import UserError
from telechat.core.files import read_json
from telechat.models.first_generation import REFUSAL, TELECHAT1_VOCABULARY

MARK = "▁"  # SentencePiece's visible space
BEHIND = "\ufdd0"  # a code point that is no character, for use between two steps of the decoder


def read_pieces(file: Path) -> list[tuple[str, float, int]]:
    """(piece, score, type) of a SentencePiece model file, in the order of the ids.

    Raises `UserError` when the file is no SentencePiece BPE model.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
    except DecodeError:
        raise UserError(f"{file}: is no SentencePiece model; it may be a pointer of Git LFS instead of the file") from None
    if model.trainer_spec.model_type != proto.TrainerSpec.BPE:
        raise UserError(f"{file}: is no BPE model")
    return [(piece.piece, piece.score, piece.type) for piece in model.pieces]


_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6


def convert(file: Path, declared: Mapping[int, str] | None = None) -> Tokenizer:
    """A `tokenizers.Tokenizer` that encodes and decodes as the SentencePiece model in `file` does.

    `declared`: names that the settings beside it give to ids. A control piece is renamed so when no piece has that name:
    the published TeleChat2-3B calls two of its spare pieces `<tool_call>` and `</tool_call>`.
    """
    pieces = read_pieces(file)
    known = {piece for piece, _, _ in pieces}
    for number, name in (declared or {}).items():
        if number < len(pieces) and pieces[number][2] == _CONTROL and name not in known:
            pieces[number] = (name, *pieces[number][1:])
    if len(pieces) == TELECHAT1_VOCABULARY:
        raise UserError(f"{file}: {REFUSAL}")
    vocabulary = {piece: i for i, (piece, _, _) in enumerate(pieces)}
    unknown = next(piece for piece, _, kind in pieces if kind == _UNKNOWN)
    model = models.BPE(
        vocab=vocabulary,
        merges=_merges(pieces, vocabulary),
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=True,
        ignore_merges=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_user_pattern(pieces)), behavior="isolated")
    control = [piece for piece, _, kind in pieces if kind in (_CONTROL, _UNKNOWN)]
    tokenizer.decoder = _decoder(control)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in control])
    return tokenizer


def _decoder(control: list[str]) -> decoders.Decoder:
    """Pieces to text. Every segment of text was encoded with a space of its own in front, which goes again: at the
    beginning, and behind each control token (a mark is put behind those while they are still tokens)."""
    after_control = Regex("(?<=" + "|".join(r"\A" + re.escape(name) for name in control) + r")\z")
    return decoders.Sequence(
        [
            decoders.Replace(after_control, BEHIND),
            decoders.Replace(MARK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(f"{BEHIND} ", ""),
            decoders.Replace(BEHIND, ""),
            decoders.Strip(" ", 1, 0),
        ]
    )


def _merges(pieces: list[tuple[str, float, int]], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """The merges that give each piece, by the rank of the result and then of the parts: SentencePiece's order."""
    found = []
    normal = {piece: score for piece, score, kind in pieces if kind == _NORMAL}
    for piece, score in normal.items():
        local = [
            (vocabulary[piece[:cut]], vocabulary[piece[cut:]], piece[:cut], piece[cut:])
            for cut in range(1, len(piece))
            if piece[:cut] in vocabulary and piece[cut:] in vocabulary
        ]
        found += [(-score, left_id, right_id, left, right) for left_id, right_id, left, right in local]
    found.sort()
    return [(left, right) for *_, left, right in found]


def _user_pattern(pieces: list[tuple[str, float, int]]) -> str:
    """A regular expression of the user-defined pieces, longest first: they are cut out before anything is merged."""
    names = sorted((piece for piece, _, kind in pieces if kind == _USER), key=lambda name: (-len(name), name))
    return "|".join(re.escape(name) for name in names) or r"(?!)"


def disagreements(folder: Path) -> list[str]:
    """Special tokens to which `tokenizer.model` and `tokenizer_config.json` in `folder` give different ids.

    The published TeleChat3-36B is such a case (`<think>` and `</think>` change places). What counts is
    `tokenizer.model`; ids are found by name everywhere in this package.
    """
    vocabulary, settings = folder / "tokenizer.model", folder / "tokenizer_config.json"
    if not (vocabulary.is_file() and settings.is_file()):
        return []
    pieces = [piece for piece, _, _ in read_pieces(vocabulary)]
    ids = {piece: number for number, piece in enumerate(pieces)}
    out = []
    for number, name in declared_tokens(read_json(settings)).items():
        if ids.get(name, number) != number:
            out.append(f"{name} is {ids[name]} in tokenizer.model and {number} in tokenizer_config.json")
        elif name not in ids and number < len(pieces):
            out.append(f"id {number} is {pieces[number]} in tokenizer.model and {name} in tokenizer_config.json")
        elif name not in ids:
            out.append(f"{name} is not in tokenizer.model; tokenizer_config.json adds it as id {number}")
    return out


def declared_tokens(settings: Any) -> dict[int, str]:
    """id → token of `added_tokens_decoder` in a tokenizer_config.json; entries that are none are left out."""
    found = settings.get("added_tokens_decoder") if isinstance(settings, dict) else None
    return {
        int(number): token["content"]
        for number, token in (found.items() if isinstance(found, dict) else ())
        if str(number).isdecimal() and isinstance(token, dict) and isinstance(token.get("content"), str)
    }


class TelechatTokenizer(PreTrainedTokenizerFast):
    """TeleChat2's and TeleChat2.5's tokenizer, converted from `tokenizer.model` where there is no `tokenizer.json`."""

    vocab_files_names: ClassVar = {"vocab_file": "tokenizer.model", "tokenizer_file": "tokenizer.json"}
    default_format: ClassVar[str] = "telechat2.5"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As in transformers; a checkpoint that brings no chat template gets the one of its family."""
        if kwargs.get("chat_template") is None:
            kwargs["chat_template"] = chat_template(get_format(self.default_format))
        super().__init__(*args, **kwargs)
        known = known_format(self)
        if known is not None and getattr(self, "response_template", None) is None:
            self.response_template = response_template(known)

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """What transformers asks when it loads a folder: `tokenizer.json` as it is, else `tokenizer.model` converted
        exactly (transformers' own conversion of SentencePiece files is not)."""
        vocabulary, ready = kwargs.get("vocab_file"), kwargs.get("tokenizer_file")
        if not (ready and Path(ready).is_file()) and vocabulary and Path(vocabulary).is_file():
            declared = {int(number): str(token) for number, token in (kwargs.get("added_tokens_decoder") or {}).items()}
            kwargs["tokenizer_object"] = convert(Path(vocabulary), declared)
        return kwargs


class Telechat3Tokenizer(TelechatTokenizer):
    """TeleChat3's and TeleChat3-Coder's tokenizer: the same conversion of another vocabulary."""

    default_format: ClassVar[str] = "telechat3"


OF_MODEL: dict[str, type[TelechatTokenizer]] = {"telechat": TelechatTokenizer, "telechat3": Telechat3Tokenizer}
"""model_type → the tokenizer of such models."""


class _Anchor(PreTrainedConfig):
    """Registers tokenizers by name alone: transformers runs a checkpoint's `auto_map` code in preference to a tokenizer
    that is registered for the checkpoint's configuration class, and not to one that it knows by its name."""

    model_type = "telechat-tokenizer"


class _Anchor3(PreTrainedConfig):
    model_type = "telechat3-tokenizer"


def register() -> None:
    """Make `AutoTokenizer` know the tokenizers by name; may be called any number of times."""
    AutoTokenizer.register(_Anchor, TelechatTokenizer, exist_ok=True)
    AutoTokenizer.register(_Anchor3, Telechat3Tokenizer, exist_ok=True)


register()
