"""What the kinds of single-turn tool calls share: a right answer makes exactly the wanted calls."""

from __future__ import annotations

import random
from collections.abc import Sequence

from telechat.core.types import Message, Rule, Task, Verdict
from telechat.tasks.base import Draft, Kind, Path, ask, say
from telechat.tasks.toolbox import TOOLS, Request, Tool, call_key, request, same_calls, wrapped

CHINESE_SHARE = 0.2


def call_draft(text: str, offered: Sequence[Tool], requests: Sequence[Request], difficulty: float) -> Draft:
    """A task whose answer is one call for each request: after naming tool and values, or at once."""
    calls = [r.call for r in requests]
    thinking = "; ".join(r.thinking for r in requests)
    paths: list[Path] = [(say(None, thinking, calls),), (say(None, None, calls),)]
    if len(calls) > 1:
        paths.append((say(None, None, calls[::-1]),))
    check = {"calls": [[call.name, call.arguments] for call in calls]}
    return Draft(ask(text), paths, check, [tool.schema() for tool in offered], difficulty)


def draw_single(rng: random.Random, transfer: bool, tools: int) -> Draft:
    """A wish for one of `tools` offered tools."""
    offered = rng.sample(TOOLS, tools)
    chinese = rng.random() < CHINESE_SHARE
    wish = request(rng, rng.choice(offered), chinese)
    difficulty = 0.15 * tools + 0.2 * len(wish.arguments)
    return call_draft(wrapped(rng, wish.do, chinese, transfer), offered, [wish], difficulty)


class CallKind(Kind):
    """A kind whose answer is a set of calls."""

    group = "tools"

    def verify(self, task: Task, message: Message) -> Verdict:
        """The wanted calls with the wanted values and types, each once, and no others."""
        got, want = message.tool_calls, task.check["calls"]
        seen = "; ".join(call_key(call) for call in got)[:160] or "no call"
        return Verdict.of(Rule("calls", message.role == "assistant" and same_calls(got, want), seen))
