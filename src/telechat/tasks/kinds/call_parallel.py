"""One wish, or two wishes in a sentence, that need two calls at once."""

from __future__ import annotations

import random

from telechat.tasks.base import Draft
from telechat.tasks.calling import CHINESE_SHARE, CallKind, call_draft
from telechat.tasks.toolbox import TOOLS, Request, request, wrapped


class CallParallel(CallKind):
    """Two calls: of one tool with two values, or of two tools. Their order does not matter."""

    name = "call_parallel"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """One or two tools and two wishes."""
        chinese = rng.random() < CHINESE_SHARE
        tools = rng.sample(TOOLS, rng.choice((1, 2)))
        first = request(rng, tools[0], chinese)
        second = request(rng, tools[-1], chinese)
        while second.call == first.call:
            second = request(rng, tools[-1], chinese)
        text = wrapped(rng, _joined(first, second, chinese), chinese, transfer)
        difficulty = 0.4 + 0.15 * len(tools) + 0.1 * (len(first.arguments) + len(second.arguments) - 2)
        return call_draft(text, tools, [first, second], difficulty)


def _joined(first: Request, second: Request, chinese: bool) -> str:
    """Both wishes in one: `call Tom and Anna` where only one value differs, else both in full."""
    if not chinese and first.tool is second.tool and len(first.arguments) == 1:
        (name,) = first.arguments
        slot = next(w for w in first.tool.en if w.format(**first.arguments) == first.do)
        return slot.format(**{name: f"{first.arguments[name]} and {second.arguments[name]}"})
    return f"{first.do},再{second.do}" if chinese else f"{first.do} and {second.do}"
