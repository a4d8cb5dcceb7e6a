"""Word problems in English: one and two steps of +, - and *."""

from __future__ import annotations

import random

from telechat.core.types import Message, Task, Verdict
from telechat.tasks.answers import judged, number_rule
from telechat.tasks.base import Draft, Kind
from telechat.tasks.stories import Numbers, Story, draw_story
from telechat.tasks.words import ITEMS, NAMES

STORIES = (
    Story("+", "{n} has {a} {i} and gets {b} more. How many {i} now?"),
    Story("+", "{n} has {a} {i}. {m} has {b}. How many {i} together?"),
    Story("-", "{n} has {a} {i} and loses {b}. How many {i} are left?"),
    Story("-", "There are {a} {i} in a box. {n} takes {b}. How many {i} are left?"),
    Story("*", "There are {a} boxes with {b} {i} each. How many {i} in all?"),
    Story("*", "{n} buys {a} bags of {b} {i}. How many {i} now?"),
    Story("++", "{n} has {a} {i}, gets {b} and then {c} more. How many {i} now?"),
    Story("+-", "{n} has {a} {i}, gets {b} and loses {c}. How many {i} are left?"),
    Story("--", "There are {a} {i} in a box. {n} takes {b} and {m} takes {c}. How many {i} are left?"),
    Story("-+", "{n} has {a} {i}, loses {b} and gets {c}. How many {i} now?"),
    Story("*+", "{n} buys {a} bags of {b} {i} and gets {c} more. How many {i} in all?"),
    Story("*-", "There are {a} boxes with {b} {i} each. {n} takes {c}. How many {i} are left?"),
)
TRANSFER = (
    Story("+", "A shop has {a} {i}. It gets {b} more. How many {i} does it have?"),
    Story("-", "Of {a} {i}, {n} sells {b}. How many {i} remain?"),
    Story("*", "Each of {a} friends has {b} {i}. How many {i} do they have?"),
    Story("+-", "A shop has {a} {i}, gets {b} and sells {c}. How many {i} remain?"),
    Story("*+", "Each of {a} friends has {b} {i}, and {n} has {c}. How many {i} do they have?"),
    Story("*-", "{n} has {a} bags with {b} {i} each and sells {c}. How many {i} remain?"),
)


class WordProblemEn(Kind):
    """Worked step by step, or answered directly."""

    name = "word_problem_en"
    group = "math"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A story; `transfer` has stories of its own and larger numbers."""
        words = {"n": NAMES, "m": NAMES, "i": ITEMS}
        if transfer:
            return draw_story(rng, TRANSFER, Numbers(start=(11, 40), later=(2, 15)), words)
        return draw_story(rng, STORIES, Numbers(), words)

    def verify(self, task: Task, message: Message) -> Verdict:
        """The answer is the right number and no other."""
        return judged(message, number_rule(message.content, task.check["answer"]))
