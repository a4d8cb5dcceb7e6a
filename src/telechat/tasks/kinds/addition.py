"""Sums of two numbers up to 999."""

from __future__ import annotations

import random

from telechat.core.types import Message, Task, Verdict
from telechat.tasks import steps
from telechat.tasks.answers import judged, number_rule
from telechat.tasks.base import Draft, Kind, answer, ask

WORDINGS = ("{a}+{b}=", "What is {a} + {b}?", "Compute {a} plus {b}.", "Add {a} and {b}.", "计算{a}+{b}", "{a}加{b}是多少?")
TRANSFER = ("How much is {a} + {b}?", "Find the sum of {a} and {b}.", "{a}加上{b}等于几?")


def number(rng: random.Random) -> int:
    """A number up to 999: mostly three digits, often enough one or two."""
    low, high = rng.choices(((0, 9), (10, 99), (100, 999)), (1, 2, 7))[0]
    return rng.randint(low, high)


class Addition(Kind):
    """Worked by columns, or answered directly."""

    name = "addition"
    group = "math"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """Two numbers; in `transfer` half the time the first one has four digits."""
        a, b = number(rng), number(rng)
        if transfer and rng.random() < 0.5:
            a = rng.randint(1000, 1999)
        text = rng.choice(TRANSFER if transfer else WORDINGS).format(a=a, b=b)
        worked = steps.column_add(a, b)
        paths = [answer(str(a + b), worked), answer(str(a + b))]
        difficulty = (len(worked.split()) + steps.carries(worked)) / 8
        return Draft(ask(text), paths, {"answer": a + b}, difficulty=difficulty)

    def verify(self, task: Task, message: Message) -> Verdict:
        """The answer is the sum and no other number."""
        return judged(message, number_rule(message.content, task.check["answer"]))
