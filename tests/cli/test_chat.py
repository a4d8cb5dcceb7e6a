"""`telechat chat` in the terminal: what is shown, what is remembered, what Ctrl-C does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from telechat.chat.parser import Delta
from telechat.cli.chat import _Talk
from telechat.core.errors import UserError
from telechat.core.types import Message
from telechat.engine import SamplingParams
from tests.serve.conftest import checkpoint  # noqa: F401


class ScriptedChat:
    """Answers with given deltas; an exception among them is raised in its place."""

    def __init__(self, *answers: list[Delta | BaseException]) -> None:
        self._answers = list(answers)
        self.asked: list[list[Message]] = []
        self.last = Message("assistant")
        self.finish = "stop"

    def stream(self, messages: list[Message], tools: tuple, params: SamplingParams) -> Iterator[Delta]:
        self.asked.append(messages)
        said = {"content": "", "reasoning_content": ""}
        try:
            for delta in self._answers.pop(0):
                if isinstance(delta, BaseException):
                    raise delta
                said[delta.kind] += delta.text
                yield delta
        finally:
            self.last = Message("assistant", said["content"] or None, said["reasoning_content"] or None)


def thought(text: str) -> Delta:
    return Delta("reasoning_content", text)


def said(text: str) -> Delta:
    return Delta("content", text)


def talk(*answers: list[Delta | BaseException], system: str | None = None) -> tuple[_Talk, ScriptedChat]:
    chat = ScriptedChat(*answers)
    return _Talk(chat, SamplingParams(), system), chat


def test_thinking_and_content_stand_apart(capsys):
    talk([thought("let me "), thought("see"), said("4"), said("2")])[0].say("6*7")
    assert capsys.readouterr().out == "let me see\n42\n"


def test_it_remembers_until_reset():
    conversation, chat = talk([said("hello")], [said("you said hi")], [said("?")], [said("!")], system="be brief")
    for line in ("hi", "what did I say?"):
        conversation.say(line)
    assert [(m.role, m.content) for m in chat.asked[1]] == [
        ("system", "be brief"),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "what did I say?"),
    ]
    conversation.reset()
    conversation.say("and now?")
    assert [m.content for m in chat.asked[2]] == ["be brief", "and now?"]
    conversation.reset("")
    conversation.say("and now?")
    assert [m.content for m in chat.asked[3]] == ["and now?"]


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(capsys):
    conversation, chat = talk(
        [said("one, "), said("two"), KeyboardInterrupt(), said("three")], [KeyboardInterrupt()], [said("ok")]
    )
    conversation.say("count")
    assert capsys.readouterr().out == "one, two … stopped\n"
    conversation.say("stopped before it said anything")
    conversation.say("go on")
    assert [m.content for m in chat.asked[2]] == ["count", "one, two", "go on"]


def test_what_does_not_fit_fails_a_pipe():
    conversation, _ = talk([UserError("too long")])
    with pytest.raises(UserError):
        conversation.say("hi")


def test_piped_in_it_answers_line_by_line_without_noise(checkpoint):  # noqa: F811
    def run(*lines: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "telechat", "chat", str(checkpoint), "--max-tokens", "6"],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    out, err = run("hi", "", "/reset", "hi", "/system be brief", "/what", "/quit", "never asked")
    assert err == "there are /reset, /system TEXT and /quit\n"
    first, second = out[: len(out) // 2], out[len(out) // 2 :]
    assert first == second != ""
    assert not out.startswith("> ")
