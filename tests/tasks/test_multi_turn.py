"""Worlds behind tools: what counts is what the assistant did, replayed, and not what a transcript claims."""

from __future__ import annotations

import dataclasses

import pytest

from telechat.core.types import Message, Task, ToolCall
from telechat.tasks.base import MAX_CALLS, MAX_TURNS, MultiTurnKind
from telechat.tasks.registry import generate, get_kind, verify


def kind(name: str) -> MultiTurnKind:
    found = get_kind(name)
    assert isinstance(found, MultiTurnKind)
    return found


def turn(*calls: ToolCall) -> Message:
    return Message("assistant", None, None, calls)


@pytest.mark.parametrize("name", ["tool_calculator", "tool_lookup", "file_repair"])
def test_gold_tool_messages_are_what_the_world_says(name: str) -> None:
    for index in range(30):
        task = generate(name, "heldout", 1, index)
        for path in task.paths:
            world = kind(name).world(task)
            results = [world.call(call.name, call.arguments) for m in path for call in m.tool_calls]
            assert results == [m.content for m in path if m.role == "tool"]
            assert 2 <= sum(m.role == "assistant" for m in path) <= 4
        assert sum(m.role == "assistant" for m in task.gold) >= 3


@pytest.mark.parametrize("name", ["tool_calculator", "tool_lookup", "file_repair"])
def test_a_transcript_without_its_work_or_its_end_fails(name: str) -> None:
    for index in range(10):
        task = generate(name, "heldout", 2, index)
        assert not verify(task, task.gold[-1]).passed, "an answer without calls"
        assert not verify(task, task.gold[:-1]).passed, "calls without an answer"
        assert not verify(task, [*task.gold[:1], task.gold[-1]]).passed, "half of the calls"
        assert not verify(task, [*task.gold, Message("assistant", "1")]).passed, "two answers"
        claimed = [m if m.role == "tool" else dataclasses.replace(m, tool_calls=()) for m in task.gold]
        assert not verify(task, claimed).passed, "tool messages without calls"
        without = [m for m in task.gold if m.role == "assistant"]
        assert verify(task, without).passed, "the tool messages themselves do not matter"
        lied = [dataclasses.replace(m, content="0") if m.role == "tool" else m for m in task.gold]
        assert verify(task, lied).passed


def test_there_is_a_limit_on_turns_and_calls() -> None:
    task = generate("tool_lookup", "heldout", 0, 0)
    call = ToolCall("lookup", {"item": task.check["items"][0]})
    for padding in ([turn(call)] * MAX_TURNS, [turn(*[call] * (MAX_CALLS + 1))]):
        assert not verify(task, [*padding, *task.gold]).passed
    assert verify(task, [turn(call), *task.gold]).passed


@pytest.mark.parametrize(
    ("name", "call", "said"),
    [
        ("tool_calculator", ToolCall("add", {"a": 1, "b": 2}), "3"),
        ("tool_calculator", ToolCall("sub", {"a": 1, "b": 2}), "-1"),
        ("tool_calculator", ToolCall("mul", {"a": 10**11, "b": 10**11}), "error: too large"),
        ("tool_calculator", ToolCall("mul", {"a": 10**5000, "b": 1}), "error: too large"),
        ("tool_calculator", ToolCall("add", {"a": 1}), "error: b is missing"),
        ("tool_calculator", ToolCall("add", {"a": 1, "b": "2"}), "error: b must be integer"),
        ("tool_calculator", ToolCall("add", {"a": 1, "b": True}), "error: b must be integer"),
        ("tool_calculator", ToolCall("add", {"a": 1, "b": 2, "c": 3}), "error: unknown argument c"),
        ("tool_calculator", ToolCall("div", {"a": 1, "b": 2}), "error: no tool div"),
        ("tool_calculator", ToolCall("_bounded", {}), "error: no tool _bounded"),
        ("tool_lookup", ToolCall("lookup", {"item": "gold"}), "error: no item gold"),
        ("file_repair", ToolCall("read", {"path": "/etc/passwd"}), "error: no file /etc/passwd"),
        ("file_repair", ToolCall("edit", {"path": "tests.py", "old": "a", "new": "b"}), "error: no file tests.py"),
    ],
)
def test_tools_answer_in_text_whatever_they_are_given(name: str, call: ToolCall, said: str) -> None:
    task = generate(name, "heldout", 0, 0)
    assert kind(name).world(task).call(call.name, call.arguments) == said


def repair() -> Task:
    tasks = (generate("file_repair", "heldout", 0, index) for index in range(100))
    return next(t for t in tasks if t.check["text"].startswith("def f(x):\n    return x "))


def edit(task: Task, old: str, new: str) -> ToolCall:
    return ToolCall("edit", {"path": task.check["file"], "old": old, "new": new})


def test_a_file_can_be_mended_in_more_than_one_way() -> None:
    task = repair()
    final = task.gold[-1]
    whole = [turn(edit(task, task.check["text"], task.check["right"] + "  # mended")), final]
    assert verify(task, whole).passed, "the whole file replaced, without reading and testing"
    rewritten = task.check["right"].replace("return ", "y = ") + "\n    return y"
    assert verify(task, [turn(edit(task, task.check["text"], rewritten)), final]).passed
    detour = [turn(edit(task, "return", "retrn")), turn(edit(task, "retrn", "return")), *task.gold]
    assert verify(task, detour).passed


def test_a_file_must_really_be_mended_and_reported() -> None:
    task = repair()
    text, file, done = task.check["text"], task.check["file"], task.gold[-1]
    for new in (
        "def f(x):\n    return 0",
        "import os\nos._exit(0)\ndef f(x): return 0",
        "class E:\n    def __eq__(s, o): return True\ndef f(x): return E()",
        "def f(x):\n    while True: pass",
        "def g(x): return x",
        "def f(x:",
        text + "\n",
    ):
        assert not verify(task, [turn(edit(task, text, new)), done]).passed, new
    right = turn(edit(task, text, task.check["right"]))
    for said in ("Done.", f"Please look at {file}.", "Fixed it.", task.messages[0].content):
        assert not verify(task, [right, Message("assistant", said)]).passed, said
    assert verify(task, [right, Message("assistant", f"I changed {file}.")]).passed
    assert not verify(task, [Message("assistant", f"Fixed {file}.")]).passed


def test_tests_tell_what_is_wrong() -> None:
    task = repair()
    world = kind("file_repair").world(task)
    assert world.call("read", {"path": task.check["file"]}) == task.check["text"]
    assert world.call("test", {}).startswith("fail: f(")
    assert ", want " in world.call("test", {})
    assert world.call("edit", {"path": task.check["file"], "old": "nothing", "new": ""}) == "error: old text found 0 times"
    assert world.call("edit", {"path": task.check["file"], "old": "", "new": "a"}) == "error: old text found 0 times"
    assert world.call("edit", {"path": task.check["file"], "old": "x", "new": "a" * 2000}).startswith("error")
    assert world.call("edit", {"path": task.check["file"], "old": "return", "new": "return ("}) == "ok"
    assert world.call("test", {}).startswith("fail: not Python")


def test_a_guessed_number_is_not_a_computed_one() -> None:
    task = generate("tool_calculator", "heldout", 0, 0)
    answer = str(task.check["answer"])
    useless = turn(ToolCall("add", {"a": 1, "b": 1}))
    assert not verify(task, [useless, Message("assistant", answer)]).passed
    assert not verify(task, [useless, Message("tool", answer), Message("assistant", answer)]).passed


def test_both_items_must_be_looked_up_and_one_be_named() -> None:
    tasks = (generate("tool_lookup", "heldout", 0, index) for index in range(100))
    task = next(t for t in tasks if t.check["goal"] == "more")
    x, y = task.check["items"]
    looks = [ToolCall("lookup", {"item": item}) for item in (x, y)]
    final = task.gold[-1]
    assert verify(task, [turn(*looks), final]).passed
    assert verify(task, [turn(*looks), Message("assistant", f"The {final.content} do.")]).passed
    assert not verify(task, [turn(looks[0]), final]).passed
    assert not verify(task, [turn(*looks), Message("assistant", f"{x} or {y}")]).passed
    assert not verify(task, [turn(*looks), Message("assistant", x if final.content == y else y)]).passed
