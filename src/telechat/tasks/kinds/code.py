"""A small function from its description, checked by hidden unit tests."""

from __future__ import annotations

import random

from telechat.core.types import Message, Task, Verdict
from telechat.tasks.answers import code_of, content_rules, judged
from telechat.tasks.base import Draft, Kind, answer, ask
from telechat.tasks.coding import test_rules
from telechat.tasks.functions import draw_function

WORDINGS = (
    "Write a Python function f(x) that {en}.",
    "Write f(x) in Python: it {en}.",
    "Code a function f(x) that {en}.",
    "Python: f(x) {en}.",
    "写函数f(x):{zh}",
)
TRANSFER = ("Please give me a Python function f(x) which {en}.", "I need f(x) in Python. It {en}.", "用Python写f(x),{zh}")


class Code(Kind):
    """Planned as one expression and then written, or written at once; some families have a second way."""

    name = "code"
    group = "code"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A family of functions with a constant; `transfer` takes larger constants half the time."""
        drawn = draw_function(rng, range(10, 30) if transfer and rng.random() < 0.5 else None)
        family = drawn.family
        wording = rng.choice(TRANSFER if transfer else WORDINGS)
        text = wording.format(en=drawn.fill(family.en), zh=drawn.fill(family.zh))
        code = drawn.source()
        paths = [answer(code, drawn.fill(family.code)), answer(code)]
        if family.other:
            paths.append(answer("def f(x):\n" + drawn.fill(family.other)))
        difficulty = min(1.0, len(family.code) / 24)
        return Draft(ask(text), paths, {"arguments": drawn.arguments, "wants": drawn.wants}, difficulty=difficulty)

    def verify(self, task: Task, message: Message) -> Verdict:
        """Every hidden test gives the wanted value."""
        if not all(rule.passed for rule in content_rules(message)):
            return judged(message)
        return judged(message, *test_rules(code_of(message.content), task.check["arguments"], task.check["wants"]))
