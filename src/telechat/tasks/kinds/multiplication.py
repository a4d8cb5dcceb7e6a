"""Products of a two-digit number and a digit."""

from __future__ import annotations

import random

from telechat.core.types import Message, Task, Verdict
from telechat.tasks import steps
from telechat.tasks.answers import judged, number_rule
from telechat.tasks.base import Draft, Kind, answer, ask

WORDINGS = (
    "{a}*{b}=",
    "What is {a} * {b}?",
    "Compute {a} times {b}.",
    "Multiply {a} by {b}.",
    "计算{a}*{b}",
    "{a}乘{b}是多少?",
)
TRANSFER = ("How much is {a} * {b}?", "Find the product of {a} and {b}.", "{a}乘以{b}等于几?")


class Multiplication(Kind):
    """Worked by columns, or answered directly."""

    name = "multiplication"
    group = "math"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A two-digit number and 2–9; in `transfer` half the time the number has three digits."""
        a, b = rng.randint(10, 99), rng.randint(2, 9)
        if transfer and rng.random() < 0.5:
            a = rng.randint(100, 399)
        text = rng.choice(TRANSFER if transfer else WORDINGS).format(a=a, b=b)
        worked = steps.column_mul(a, b)
        paths = [answer(str(a * b), worked), answer(str(a * b))]
        difficulty = (len(worked.split()) + steps.carries(worked)) / 8
        return Draft(ask(text), paths, {"answer": a * b}, difficulty=difficulty)

    def verify(self, task: Task, message: Message) -> Verdict:
        """The answer is the product and no other number."""
        return judged(message, number_rule(message.content, task.check["answer"]))
