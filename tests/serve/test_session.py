"""A loaded model that chats, and how its format is found."""

from __future__ import annotations

import pytest

from telechat.core.errors import UserError
from telechat.core.types import Message
from telechat.engine import SamplingParams
from telechat.serve.session import ChatModel


def test_a_conversation(chat):
    messages = [Message("user", "hi")]
    params = SamplingParams(max_tokens=20, seed=5)
    pieces = list(chat.stream(messages, (), params))
    first = chat.last
    assert first.role == "assistant"
    assert pieces
    assert {p.kind for p in pieces} <= {"reasoning_content", "content"}
    assert list(chat.stream(messages, (), params)) == pieces
    longer = [*messages, first, Message("user", "and then?")]
    assert list(chat.stream(longer, (), params)) != pieces


def test_an_answer_can_be_left(chat):
    params = SamplingParams(max_tokens=200, temperature=0.0)
    whole = [d.text for d in chat.stream([Message("user", "hi")], (), params)]
    stream = chat.stream([Message("user", "hi")], (), params)
    some = [next(stream).text for _ in range(2)]
    stream.close()
    said = chat.last.reasoning_content or chat.last.content or ""
    assert said.startswith("".join(some).rstrip())
    assert [d.text for d in chat.stream([Message("user", "hi")], (), params)] == whole


def test_what_does_not_fit_is_refused_and_the_model_goes_on(chat):
    with pytest.raises(UserError, match="context"):
        list(chat.stream([Message("user", "7 " * 2000)]))
    assert list(chat.stream([Message("user", "hi")], (), SamplingParams(max_tokens=5)))


def test_no_checkpoint_is_a_user_error(tmp_path):
    with pytest.raises(UserError):
        ChatModel.load(tmp_path)
