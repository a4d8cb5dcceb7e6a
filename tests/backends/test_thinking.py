"""Thinking is cut off the same way however the text arrives, and means what our own parser says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telechat.backends.thinking import ThinkingSplitter, split_thinking, thinking_ended
from telechat.chat.formats import get_format
from telechat.chat.parser import parse

PIECES = st.lists(st.sampled_from(["<think>", "</think>", "<", "th", "</th", "ink>", " ", "\n", "a", "思", "<tool_call>f"]))


@pytest.mark.parametrize(
    ("text", "thinking", "rest"),
    [
        ("a b</think>c", "a b", "c"),
        ("\na b\n</think>\n\nc \n", "a b", "c \n"),
        ("<think>\na</think>", "a", None),
        ("</think>c", None, "c"),
        ("a < b", "a < b", None),
        ("a </thi", "a </thi", None),
        ("a</think><tool_call>f</tool_call>", "a", "<tool_call>f</tool_call>"),
        ("a</think>b</think>c", "a", "b</think>c"),
        ("", None, None),
    ],
)
def test_cases(text, thinking, rest):
    assert split_thinking(text) == (thinking, rest)


@given(PIECES, st.integers(1, 5))
def test_cuts_change_nothing(pieces, size):
    text = "".join(pieces)
    splitter = ThinkingSplitter()
    thinking = rest = ""
    for start in range(0, len(text), size):
        more, behind = splitter.feed(text[start : start + size])
        thinking += more
        rest += behind
    thinking += splitter.finish()
    assert (thinking or None, rest or None) == split_thinking(text)


@given(PIECES)
def test_the_thinking_is_what_the_parser_calls_reasoning(pieces):
    text = "".join(pieces)
    whole = parse(get_format("telechat3-coder"), text).message
    assert split_thinking(text)[0] == whole.reasoning_content


@pytest.mark.parametrize(
    ("ids", "ended"),
    [([5, 1], False), ([5, 2], True), ([1, 7, 2, 8, 1], False), ([1, 7, 2, 8], True), ([5, 6], False), ([], False)],
)
def test_the_last_tag_of_a_prompt_counts(ids, ended):
    assert thinking_ended(ids, start=1, end=2) is ended
