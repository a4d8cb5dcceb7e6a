"""Messages read every OpenAI form and nothing else."""

from __future__ import annotations

import pytest

from telechat.core.types import Message, Rule, ToolCall, Verdict


def test_a_message_round_trips():
    message = Message("assistant", "x", "thought", (ToolCall("f", {"a": 1}, "id1"),))
    assert Message.from_dict(message.to_dict()) == message


def test_arguments_may_be_an_object_or_a_json_string():
    for arguments in ({"a": 1}, '{"a": 1}'):
        read = Message.from_dict({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]})
        assert read.tool_calls[0].arguments == {"a": 1}


def test_thinking_is_read_under_both_names():
    for name in ("reasoning", "reasoning_content"):
        assert Message.from_dict({"role": "assistant", name: "hm"}).reasoning_content == "hm"


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert Message.from_dict({"role": "user", "content": parts}).content == "ab"


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"role": "robot"},
        {"role": "user", "content": 3},
        {"role": "user", "content": [{"type": "image_url"}]},
        {"role": "assistant", "tool_calls": [{}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]},
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(ValueError, match=r"role|content|tool call|must be"):
        Message.from_dict(data)


def test_a_verdict_passes_when_every_rule_holds():
    assert Verdict.of(Rule("a", True), Rule("b", True)).passed
    assert not Verdict.of(Rule("a", True), Rule("b", False)).passed
    assert not Verdict.of().passed
