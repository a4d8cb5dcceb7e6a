"""What a short Python program prints."""

from __future__ import annotations

import random

from telechat.core.types import Message, Rule, Task, Verdict
from telechat.tasks.answers import code_of, judged
from telechat.tasks.base import Draft, Kind, answer, ask
from telechat.tasks.snippets import FAMILIES

WORDINGS = ("What does this print?\n{code}", "{code}\nOutput?", "Give the output of this code:\n{code}", "写出输出:\n{code}")
TRANSFER = ("Tell me what Python prints for\n{code}", "{code}\nWhat comes out?", "这个程序的输出是什么?\n{code}")


class CodeOutput(Kind):
    """Traced line by line, or answered directly."""

    name = "code_output"
    group = "code"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A program of 1–5 lines; `transfer` has larger numbers."""
        family = rng.choice(FAMILIES)
        snippet = family(rng, 20 if transfer else 9)
        text = rng.choice(TRANSFER if transfer else WORDINGS).format(code=snippet.code)
        paths = [answer(snippet.output, snippet.trace), answer(snippet.output)]
        difficulty = min(1.0, 0.15 * snippet.trace.count(" ") + 0.1 * snippet.code.count("\n"))
        return Draft(ask(text), paths, {"output": snippet.output, "code": snippet.code}, difficulty=difficulty)

    def verify(self, task: Task, message: Message) -> Verdict:
        """The output, exactly, but for white space around it."""
        got = (code_of(message.content) or "").strip()
        want = task.check["output"]
        return judged(message, Rule("output", got == want, f"got {got[:60]!r}, want {want!r}"))
