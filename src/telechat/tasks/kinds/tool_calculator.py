"""Numbers too large for the head: two or three calls of a calculator, each on the result of the one before."""

from __future__ import annotations

import random
from collections.abc import Sequence

from telechat.core.types import Rule, Task, ToolCall
from telechat.tasks.answers import number_rule, one_number
from telechat.tasks.base import Draft, MultiTurnKind, Step, World, ask, played

OPERATORS = {"add": "+", "sub": "-", "mul": "*"}
WORDS = {"add": "add {n}", "sub": "take away {n}", "mul": "multiply by {n}"}
WORDS_TRANSFER = {"add": "increase it by {n}", "sub": "reduce it by {n}", "mul": "take it {n} times"}
WORDS_ZH = {"add": "加{n}", "sub": "减{n}", "mul": "乘{n}"}
WORDINGS = ("Compute {sum}.", "What is {sum}?", "Start with {words}.", "计算{zh}")
TRANSFER = ("Work out {sum}.", "Begin at {other}.", "求{zh}")
LIMIT = 10**12


def _schema(name: str, description: str) -> dict:
    number = {"type": "integer"}
    parameters = {"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [_schema("add", "a plus b"), _schema("sub", "a minus b"), _schema("mul", "a times b")]


class Calculator(World):
    """Exact integers, as long as they are not absurdly large. It has no state."""

    def tool_add(self, a: int, b: int) -> str:
        """The sum."""
        return self._bounded(a, b, a + b)

    def tool_sub(self, a: int, b: int) -> str:
        """The difference."""
        return self._bounded(a, b, a - b)

    def tool_mul(self, a: int, b: int) -> str:
        """The product."""
        if max(abs(a), abs(b)) >= LIMIT:
            return "error: too large"
        return self._bounded(a, b, a * b)

    @staticmethod
    def _bounded(a: int, b: int, result: int) -> str:
        return str(result) if max(abs(a), abs(b), abs(result)) < LIMIT else "error: too large"


class ToolCalculator(MultiTurnKind):
    """The steps in order in the first thought, one of them in each later one, each before its call; the answer is the
    last result."""

    name = "tool_calculator"
    group = "agent"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A chain of two or three operations; `transfer` starts from four digits."""
        names = rng.sample(list(OPERATORS), rng.choice((2, 2, 3)))
        total = rng.randint(1000, 9999) if transfer else rng.randint(100, 999)
        start, values, calls = total, [], []
        for name in names:
            value = rng.randint(12, 99) if name == "mul" else rng.randint(10, min(999, total // 2))
            calls.append(ToolCall(name, {"a": total, "b": value}))
            total = {"add": total + value, "sub": total - value, "mul": total * value}[name]
            values.append(value)
        steps = [f" {OPERATORS[name]} {value}" for name, value in zip(names, values, strict=True)]
        marks = ["first", "then", "last"] if len(steps) == 3 else ["first", "last"]
        plan = "".join(f"; {mark}{step}" for mark, step in zip(marks[1:], steps[1:], strict=True))
        turns = [(f"{marks[i]} {call.arguments['a']}{steps[i]}{'' if i else plan}", [call]) for i, call in enumerate(calls)]
        direct = [(None, [call]) for call in calls]
        text = rng.choice(TRANSFER if transfer else WORDINGS).format(
            sum=_expression(start, names, values),
            words=", ".join([str(start), *(WORDS[n].format(n=v) for n, v in zip(names, values, strict=True))]),
            other=", ".join([str(start), *(WORDS_TRANSFER[n].format(n=v) for n, v in zip(names, values, strict=True))]),
            zh=",再".join([str(start), *(WORDS_ZH[n].format(n=v) for n, v in zip(names, values, strict=True))]).replace(
                ",再", "", 1
            ),
        )
        world = Calculator(TOOLS)
        paths = [played(world, turns, str(total)), played(world, direct, str(total))]
        return Draft(ask(text), paths, {"answer": total}, TOOLS, difficulty=0.2 * len(names) + 0.2 * (total > 9999))

    def world(self, task: Task) -> World:
        """A calculator."""
        return Calculator(task.tools)

    def judge(self, task: Task, world: World, steps: Sequence[Step], final: str) -> list[Rule]:
        """The answer is right, and it came out of a call."""
        results = [step.result for step in steps]
        return [
            number_rule(final, task.check["answer"]),
            Rule("computed", str(one_number(final)) in results, ", ".join(results)[:120]),
        ]


def _expression(start: int, names: Sequence[str], values: Sequence[int]) -> str:
    """`(345 + 678) * 12`: with the brackets that keep the order from left to right."""
    text = str(start)
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        if number and name == "mul":
            text = f"({text})"
        text = f"{text} {OPERATORS[name]} {value}"
    return text
