"""Ids to thinking, content and calls: nothing is lost, and some words never show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telechat.chat.parser import parse
from telechat.core.types import ToolCall
from telechat.serve.answer import HIDDEN_WORDS, Answer, ContentGuard, Detokenizer

from .scripted import ids_of

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"days": {"type": "integer"}}}}}]
CALL = "<tool_call>weather<param_key>city</param_key><param_value>北京</param_value></tool_call>"
CALL2 = "<tool_call>weather<param_key>days</param_key><param_value>2</param_value></tool_call>"


def read(answer: Answer, ids: list[int]) -> list[tuple[str, str]]:
    deltas = [delta for token in ids for delta in answer.push(token)] + answer.finish()
    assert answer.finish() == []
    return [(delta.kind, delta.text) for delta in deltas]


def joined(deltas: list[tuple[str, str]], kind: str) -> str:
    return "".join(text for k, text in deltas if k == kind)


@pytest.mark.parametrize(
    "text", ["plain words, 42", "生抽和酱油", "emoji 🙂🚀 and 龘靐齉", "tab\tnewline\n", "é ü ß – “quotes”"]
)
def test_text_comes_back_whole_from_single_ids(renderer, text):
    detokenizer = Detokenizer(renderer)
    pieces = [detokenizer.push(token) for token in renderer.encode(text)]
    assert "".join(pieces) + detokenizer.finish() == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_are_no_character_are_shown_at_last(renderer, tokenizer):
    byte = tokenizer.convert_tokens_to_ids("<0xE4>")
    detokenizer = Detokenizer(renderer)
    after = renderer.encode("x")
    text = "".join(detokenizer.push(token) for token in [byte, *after, byte, byte, byte, byte, byte]) + detokenizer.finish()
    assert text.count("x") == 1
    assert "\ufffd" in text


def test_thinking_content_and_calls(renderer):
    ids = ids_of(renderer, f"first I look\n</think>Here: {CALL}{CALL2}<_end>")
    answer = Answer(renderer, TOOLS, silent={renderer.end_id})
    deltas = read(answer, ids)
    message = answer.message
    assert (message.reasoning_content, message.content) == ("first I look", "Here:")
    assert [(c.name, c.arguments) for c in message.tool_calls] == [("weather", {"city": "北京"}), ("weather", {"days": 2})]
    assert len({c.id for c in message.tool_calls}) == 2
    assert joined(deltas, "reasoning_content") == "first I look"
    assert joined(deltas, "call") == "weatherweather"
    assert answer.tokens == len(ids)
    assert answer.reasoning_tokens == ids.index(renderer.control_ids["</think>"])


def test_the_message_is_what_the_parser_makes_of_the_whole(renderer):
    for text in (f"hm\n</think>{CALL}<_end>", "</think>42<_end>", "cut off in th", f"a</think>b{CALL}c<_end>"):
        answer = Answer(renderer, TOOLS, silent={renderer.end_id})
        read(answer, ids_of(renderer, text))
        whole = parse(renderer.format, text, TOOLS).message
        calls = tuple(ToolCall(c.name, c.arguments) for c in answer.message.tool_calls)
        assert (answer.content, answer.reasoning, calls) == (whole.content, whole.reasoning_content, whole.tool_calls)


def test_control_words_never_show_in_content(renderer):
    text = "a</think>b</think>c<think>d"
    answer = Answer(renderer)
    read(answer, ids_of(renderer, text) + renderer.encode("e <_end></think> f"))
    assert answer.content == "bcde  f"


@given(
    st.lists(st.sampled_from(["<", "th", "ink>", "/", "_end>", "<_e", "<think>", "</think>", "nd>", "x", ">", "stop", "st"]))
)
def test_no_cut_of_the_text_lets_a_hidden_word_or_a_stop_string_through(pieces):
    guard = ContentGuard(["stop"])
    out = "".join(guard.push(piece) for piece in pieces) + guard.push("", final=True)
    assert not any(word in out for word in (*HIDDEN_WORDS, "stop"))


def test_what_only_begins_like_a_hidden_word_is_kept():
    guard = ContentGuard(["###"])
    pieces = ["a <", "thin", "k of <_", "e", "#", "#"]
    assert "".join(guard.push(piece) for piece in pieces) + guard.push("", final=True) == "".join(pieces)


def test_a_stop_string_ends_content_only(renderer):
    ids = ids_of(renderer, "one ; two</think>three ; four<_end>")
    answer = Answer(renderer, stop=[";", "ou"], silent={renderer.end_id})
    deltas = read(answer, ids)
    assert answer.reasoning == "one ; two"
    assert answer.content == joined(deltas, "content") == "three "
    assert answer.ended
    assert answer.tokens < len(ids)


def test_calls_that_nobody_offered_are_content(renderer):
    answer = Answer(renderer, silent={renderer.end_id}, max_calls=0)
    deltas = read(answer, ids_of(renderer, f"</think>{CALL}<_end>"))
    assert answer.message.tool_calls == ()
    assert "weather" in (answer.content or "")
    assert "北京" in joined(deltas, "content")


def test_one_call_only_where_one_is_asked_for(renderer):
    answer = Answer(renderer, TOOLS, silent={renderer.end_id}, max_calls=1)
    read(answer, ids_of(renderer, f"</think>{CALL}{CALL2}<_end>"))
    assert [c.arguments for c in answer.message.tool_calls] == [{"city": "北京"}]
    assert answer.ended
