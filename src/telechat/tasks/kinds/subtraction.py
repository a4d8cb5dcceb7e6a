"""Differences of two numbers up to 999, never below zero."""

from __future__ import annotations

import random

from telechat.core.types import Message, Task, Verdict
from telechat.tasks import steps
from telechat.tasks.answers import judged, number_rule
from telechat.tasks.base import Draft, Kind, answer, ask
from telechat.tasks.kinds.addition import number

WORDINGS = ("{a}-{b}=", "What is {a} - {b}?", "Compute {a} minus {b}.", "Take {b} from {a}.", "计算{a}-{b}", "{a}减{b}是多少?")
TRANSFER = ("How much is {a} - {b}?", "Subtract {b} from {a}.", "{a}减去{b}等于几?")


class Subtraction(Kind):
    """Worked by columns with the borrow written out, or answered directly."""

    name = "subtraction"
    group = "math"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """Two numbers, the larger first; in `transfer` half the time the larger has four digits."""
        b, a = sorted((number(rng), number(rng)))
        if transfer and rng.random() < 0.5:
            a = rng.randint(1000, 1999)
        text = rng.choice(TRANSFER if transfer else WORDINGS).format(a=a, b=b)
        worked = steps.column_sub(a, b)
        difficulty = (len(worked.split()) + steps.carries(worked)) / 8
        return Draft(ask(text), [answer(str(a - b), worked), answer(str(a - b))], {"answer": a - b}, difficulty=difficulty)

    def verify(self, task: Task, message: Message) -> Verdict:
        """The answer is the difference and no other number."""
        return judged(message, number_rule(message.content, task.check["answer"]))
