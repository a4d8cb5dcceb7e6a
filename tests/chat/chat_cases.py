"""Conversations, tools and tokenizers that the tests of this folder share."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from telechat.chat.formats import CONTROL_WORDS, FORMATS, Format
from telechat.chat.template import chat_template
from telechat.core.types import Message, ToolCall

CODER, TELECHAT3, T1, CLASSIC = (FORMATS[n] for n in ("telechat3-coder", "telechat3", "t1", "telechat2.5"))

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "options": {"type": "object"},
            },
            "required": ["city"],
        },
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {"name": "查询时间", "parameters": {"type": "object", "properties": {}}},
}


def system(text: str) -> Message:
    return Message("system", text)


def user(text: str | None) -> Message:
    return Message("user", text)


def bot(text: str | None, thinking: str | None = None, *calls: ToolCall) -> Message:
    return Message("assistant", text, thinking, calls)


def result(text: str) -> Message:
    return Message("tool", text)


def call(name: str = "get_weather", /, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments)


def by_jinja(fmt: Format, messages: list[dict[str, Any]], tools: Any = (), prompt: bool = True, **options: Any) -> str:
    """The conversation as transformers renders the exported template."""
    rendered, _ = render_jinja_template(
        [messages], tools=list(tools) or None, chat_template=chat_template(fmt), add_generation_prompt=prompt, **options
    )
    return rendered[0]


@cache
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A small byte-level BPE tokenizer with the family's control words."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<_unk>", *CONTROL_WORDS]
    )
    core.train_from_iterator(["the tool says hello to the <param_key>city</param_key> 你好"] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core)


@cache
def sentence_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of the real family's kind: `▁` for space, one before each stretch of text, bytes as a fallback."""
    words = ["<_unk>", *CONTROL_WORDS, *(f"<0x{n:02X}>" for n in range(256)), "▁", "▁t", "he", "▁the"]
    words += [c for c in "abcdefghijklmnopqrstuvwxyz" if c not in words]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    core = Tokenizer(
        models.BPE({w: i for i, w in enumerate(words)}, merges, unk_token="<_unk>", byte_fallback=True, fuse_unk=True)
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(list(CONTROL_WORDS))
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<_unk>")


_PIECES = [
    "<_end>",
    "<think>",
    "</think>",
    "<tool_call>",
    "<param_key>",
    "</param_value>",
    '"',
    "\\",
    "\n",
    "  ",
    "{",
    "你好",
    "😀",
    "é",
]
texts = st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=6)), max_size=4).map("".join)
plain = st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=12)
"""Text that holds no markup."""

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), plain)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3), max_leaves=6
)
keys = st.text("abcdefg_", min_size=1, max_size=5)
names = st.sampled_from(["get_weather", "查询时间", "f-1.x"])
calls = st.builds(ToolCall, names, st.dictionaries(keys, values, max_size=3))


@st.composite
def conversations(draw: st.DrawFn, text: st.SearchStrategy[str] = texts) -> list[Message]:
    """Any conversation: a system message or none, user and assistant turns, calls with results."""
    messages = [system(draw(text))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["user", "bot", "tool"]))
        if kind == "user":
            messages.append(user(draw(st.none() | text)))
        elif kind == "bot":
            made = draw(st.lists(calls, max_size=2))
            messages.append(bot(draw(st.none() | text), draw(st.none() | text), *made))
        else:
            messages += [result(draw(text)) for _ in range(draw(st.integers(1, 2)))]
    return messages


def openai(messages: list[Message], arguments_as_text: bool = False) -> list[dict[str, Any]]:
    """The messages as OpenAI dictionaries; arguments as objects or as JSON strings."""
    out = [m.to_dict() for m in messages]
    if arguments_as_text:
        for message in out:
            for made in message.get("tool_calls", ()):
                made["function"]["arguments"] = json.dumps(made["function"]["arguments"])
    return out
