"""What a task kind is: it draws tasks, and it says whether an answer is right."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from telechat.core.types import Message, Rule, Task, ToolCall, Verdict

Path = tuple[Message, ...]

MAX_TURNS = 12
MAX_CALLS = 16


@dataclass
class Draft:
    """A task before it has a place in a split: what is asked, the hidden check data, right answers, difficulty in [0, 1]."""

    messages: list[Message]
    paths: list[Path]
    check: dict[str, Any]
    tools: list[dict[str, Any]] = field(default_factory=list)
    difficulty: float = 0.5


def ask(text: str) -> list[Message]:
    """A conversation of one user message."""
    return [Message("user", text)]


def say(content: str | None, thinking: str | None = None, calls: Sequence[ToolCall] = ()) -> Message:
    """An assistant message."""
    return Message("assistant", content, thinking, tuple(calls))


def answer(content: str, thinking: str | None = None) -> Path:
    """A solution path of one assistant message with this content."""
    return (say(content, thinking),)


class Kind(ABC):
    """A family of tasks: a seeded generator and the verifier of its answers."""

    name: ClassVar[str]
    group: ClassVar[str]
    multi_turn: ClassVar[bool] = False

    @abstractmethod
    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A task drawn with `rng`; `transfer` takes the wordings and ranges that no other split uses."""

    @abstractmethod
    def verify(self, task: Task, message: Message) -> Verdict:
        """Whether `message` answers `task`. Never raises, whatever the message holds."""


class World:
    """The tools of one multi-turn task and the state behind them. Subclasses define a method `tool_<name>` per tool."""

    def __init__(self, tools: Sequence[dict[str, Any]]) -> None:
        self._tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Call a tool and return its result as text; a wrong call gives a text that starts with `error:`."""
        schema = self._tools.get(name)
        if schema is None:
            return f"error: no tool {name[:40]}"
        problem = argument_problem(schema, arguments)
        if problem:
            return f"error: {problem}"
        return str(getattr(self, f"tool_{name}")(**arguments))


def argument_problem(schema: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    """What is wrong with a call's arguments under a flat object schema; None when nothing is."""
    properties = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in arguments:
            return f"{key} is missing"
    for key, value in arguments.items():
        if key not in properties:
            return f"unknown argument {key[:40]}"
        expected = {"string": str, "integer": int}[properties[key]["type"]]
        if type(value) is not expected:
            return f"{key} must be {properties[key]['type']}"
    return None


@dataclass(frozen=True)
class Step:
    """One replayed call and what the world answered."""

    call: ToolCall
    result: str


class MultiTurnKind(Kind):
    """A kind whose tasks need tools over several turns. Only what the assistant wrote counts: its calls are replayed."""

    multi_turn = True

    @abstractmethod
    def world(self, task: Task) -> World:
        """A fresh world for `task`."""

    @abstractmethod
    def judge(self, task: Task, world: World, steps: Sequence[Step], final: str) -> list[Rule]:
        """The rules that the final state and the final answer must meet."""

    def verify(self, task: Task, message: Message) -> Verdict:
        """A trajectory of one message."""
        return self.verify_trajectory(task, [message])

    def verify_trajectory(self, task: Task, messages: Sequence[Message]) -> Verdict:
        """Replay the assistant's calls in a fresh world (tool messages are ignored) and judge what comes out."""
        turns = [message for message in messages if message.role == "assistant"]
        if not turns or turns[-1].tool_calls or not (turns[-1].content or "").strip():
            return Verdict.of(Rule("final answer", False, "no final answer"))
        if any(not turn.tool_calls for turn in turns[:-1]):
            return Verdict.of(Rule("final answer", False, "more than one final answer"))
        calls = [call for turn in turns for call in turn.tool_calls]
        if len(turns) > MAX_TURNS or len(calls) > MAX_CALLS:
            return Verdict.of(Rule("turns", False, f"{len(turns)} turns, {len(calls)} calls"))
        world = self.world(task)
        steps = [Step(call, world.call(call.name, call.arguments)) for call in calls]
        return Verdict.of(*self.judge(task, world, steps, (turns[-1].content or "").strip()))


def played(
    world: World, turns: Sequence[tuple[str | None, Sequence[ToolCall]]], final: str, thinking: str | None = None
) -> Path:
    """A solution path: every turn's thinking and calls, the world's results, and the final answer with its thinking."""
    path: list[Message] = []
    for number, (thought, calls) in enumerate(turns):
        named = [ToolCall(c.name, c.arguments, f"call_{number}_{i}") for i, c in enumerate(calls)]
        path.append(say(None, thought, named))
        path += [Message("tool", world.call(c.name, c.arguments), tool_call_id=c.id) for c in named]
    return (*path, say(final, thinking))
