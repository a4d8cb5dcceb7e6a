"""A table that only a tool can read: two look-ups, and then a comparison, a sum or a difference."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from telechat.core.types import Rule, Task, ToolCall
from telechat.tasks.answers import has, number_rule, plain
from telechat.tasks.base import Draft, MultiTurnKind, Step, World, ask, played
from telechat.tasks.steps import column_add
from telechat.tasks.toolbox import THINGS


@dataclass(frozen=True)
class Question:
    """A question about {x} and {y}: its wordings, those of `transfer`, and how it is answered."""

    goal: str
    texts: tuple[str, ...]
    transfer: tuple[str, ...]


QUESTIONS = (
    Question(
        "more",
        ("Which costs more, {x} or {y}?", "What has the higher price, {x} or {y}?", "{x}和{y}哪个价格高?"),
        ("Of {x} and {y}, which is dearer?", "{x}和{y}中哪个更贵?"),
    ),
    Question(
        "less",
        ("Which costs less, {x} or {y}?", "What has the lower price, {x} or {y}?", "{x}和{y}哪个价格低?"),
        ("Of {x} and {y}, which is cheaper?", "{x}和{y}中哪个更便宜?"),
    ),
    Question(
        "sum",
        ("What do {x} and {y} cost together?", "Give the price of {x} plus {y}.", "{x}和{y}一共多少钱?"),
        ("How much do I pay for both {x} and {y}?", "买{x}和{y}要多少钱?"),
    ),
)
TOOL = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Get the price",
        "parameters": {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]},
    },
}


class Table(World):
    """Prices by item."""

    def __init__(self, tools: Sequence[dict], prices: dict[str, int]) -> None:
        super().__init__(tools)
        self.prices = prices

    def tool_lookup(self, item: str) -> str:
        """The price of one item."""
        return str(self.prices[item]) if item in self.prices else f"error: no item {item[:40]}"


class ToolLookup(MultiTurnKind):
    """One look-up after the other, or both at once, with what is asked in mind; then the answer."""

    name = "tool_lookup"
    group = "agent"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A table of five items and a question about two of them; prices up to 20, in `transfer` up to 60."""
        items = rng.sample(THINGS, 5)
        prices = dict(zip(items, rng.sample(range(2, 61 if transfer else 21), 5), strict=True))
        x, y = items[:2]
        question = rng.choice(QUESTIONS)
        text = rng.choice(question.transfer if transfer else question.texts).format(x=x, y=y)
        first, second = ToolCall("lookup", {"item": x}), ToolCall("lookup", {"item": y})
        a, b, goal = prices[x], prices[y], question.goal
        if goal == "sum":
            final, thinking = str(a + b), f"sum? {a}+{b}: {column_add(a, b)}"
        else:
            dear, cheap = (x, y) if a > b else (y, x)
            final = dear if goal == "more" else cheap
            # Both are named first: which one is wanted is then a look back, and not two questions at once.
            thinking = f"{goal}? {x} {a}{'>' if a > b else '<'}{b} {y}, more {dear}, less {cheap}; {goal} {final}"
        world = Table([TOOL], prices)
        paths = [
            played(world, [(f"{goal}? {x}", [first]), (f"{goal}? {x} {a}, {y}", [second])], final, thinking),
            played(world, [(f"{goal}? {x}, {y}", [first, second])], final, thinking),
            played(world, [(None, [first]), (None, [second])], final),
        ]
        check = {"prices": prices, "goal": goal, "items": [x, y], "answer": final}
        return Draft(ask(text), paths, check, [TOOL], difficulty=0.7 if goal == "sum" else 0.5)

    def world(self, task: Task) -> World:
        """The table of this task."""
        return Table(task.tools, task.check["prices"])

    def judge(self, task: Task, world: World, steps: Sequence[Step], final: str) -> list[Rule]:
        """Both items were looked up, and the answer is right and only one."""
        seen = {str(step.call.arguments.get("item")) for step in steps if not step.result.startswith("error")}
        missing = [item for item in task.check["items"] if item not in seen]
        want = task.check["answer"]
        if task.check["goal"] == "sum":
            rule = number_rule(final, int(want))
        else:
            text = plain(final)
            named = [item for item in THINGS if has(text, item)]
            rule = Rule("item", named == [want] and len(text) <= 80, f"got {', '.join(named)[:60]}, want {want}")
        return [Rule("looked up", not missing, ", ".join(missing)), rule]
