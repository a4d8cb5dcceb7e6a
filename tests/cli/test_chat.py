"""`telechat chat` in the terminal: what is shown, what is remembered, what Ctrl-C does."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from telechat.chat.parser import Delta
from telechat.cli.chat import HELP, _lines, _Talk
from telechat.core.errors import UserError
from telechat.core.types import Message
from telechat.engine import SamplingParams
from tests.serve.conftest import checkpoint  # noqa: F401


class ScriptedChat:
    """Answers with given deltas; an exception among them is raised in its place."""

    def __init__(self, *answers: list[Delta | BaseException]) -> None:
        self._answers = list(answers)
        self.asked: list[list[Message]] = []
        self.tools: list[list[dict]] = []
        self.params: list[SamplingParams] = []
        self.seeds: list[int] = []
        self.last = Message("assistant")
        self.finish = "stop"
        self.said: frozenset[str] = frozenset()

    def stream(self, messages: list[Message], tools: tuple, params: SamplingParams) -> Iterator[Delta]:
        self.asked.append(messages)
        self.tools.append(list(tools))
        self.params.append(params)
        self.seeds.append(params.seed)
        said = {"content": "", "reasoning_content": ""}
        try:
            for delta in self._answers.pop(0):
                if isinstance(delta, BaseException):
                    raise delta
                said[delta.kind] = said.get(delta.kind, "") + delta.text
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


def test_a_conversation_is_saved_loaded_and_tried_again(tmp_path):
    file = str(tmp_path / "talk.json")
    conversation, _ = talk([said("hello")], system="be brief")
    conversation.say("hi")
    conversation.obey("/save", file)
    later, chat = talk([said("again")], [said("and again")])
    later.obey("/load", file)
    later.say("what did I say?")
    assert [m.content for m in chat.asked[0]] == ["be brief", "hi", "hello", "what did I say?"]
    later.obey("/retry", "")
    assert [m.content for m in chat.asked[1]] == [m.content for m in chat.asked[0]]
    assert chat.seeds == [0, 1]
    assert chat.said == {"seed"}
    (tmp_path / "other.json").write_text("[]")
    for name, rest in (("/load", str(tmp_path / "other.json")), ("/load", "nowhere"), ("/save", ""), ("/preset", "poetry")):
        with pytest.raises(UserError):
            later.obey(name, rest)


def test_tools_are_offered_and_calls_shown(tmp_path, capsys):
    file = tmp_path / "tools.json"
    file.write_text('[{"type": "function", "function": {"name": "now"}}]')
    conversation, chat = talk([Delta("call", "now", 0), Delta("arguments", "{}", 0)], [said("ok")])
    conversation.obey("/tools", str(file))
    conversation.say("what time is it?")
    assert chat.tools[0][0]["function"]["name"] == "now"
    assert "→ now {}" in capsys.readouterr().out
    conversation.obey("/tools", "")
    conversation.say("and now?")
    assert chat.tools[1] == []


def test_a_preset_changes_the_sampling():
    conversation, chat = talk([said("ok")])
    assert conversation.obey("/preset", "agent")
    conversation.say("hi")
    assert (chat.params[0].temperature, chat.params[0].top_p) == (0.6, 0.95)
    assert not conversation.obey("hello", "")


def test_texts_of_several_lines(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('one\n\n"""two\nthree\n\nfour"""\n"""five"""\n"""\nsix\n"""\n"""seven'))
    assert list(_lines()) == ["one", "two\nthree\n\nfour", "five", "six", "seven"]


def test_bytes_that_are_no_text_do_not_end_a_conversation(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\xff\r\ntwo"), encoding="utf-8"))
    assert list(_lines()) == ["one\ufffd", "two"]


def test_a_conversation_that_cannot_be_saved_goes_on(tmp_path):
    conversation, _ = talk([said("ok")], [said("still here")])
    conversation.say("hi")
    with pytest.raises(UserError, match="cannot be written"):
        conversation.obey("/save", str(tmp_path))
    conversation.say("hi again")


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
    assert err == HELP + "\n"
    first, second = out[: len(out) // 2], out[len(out) // 2 :]
    assert first == second != ""
    assert not out.startswith("> ")
