"""Word problems in Chinese: one and two steps of +, - and *."""

from __future__ import annotations

import random

from telechat.core.types import Message, Task, Verdict
from telechat.tasks.answers import judged, number_rule
from telechat.tasks.base import Draft, Kind
from telechat.tasks.stories import Numbers, Story, draw_story
from telechat.tasks.words import ITEMS_ZH, NAMES_ZH

STORIES = (
    Story("+", "{n}有{a}个{i},又买了{b}个,现在有几个?"),
    Story("+", "{n}有{a}个{i},{m}有{b}个,一共有几个?"),
    Story("-", "{n}有{a}个{i},用了{b}个,还有几个?"),
    Story("-", "盒里有{a}个{i},{n}拿走{b}个,还有几个?"),
    Story("*", "有{a}个盒子,每盒有{b}个{i},一共有几个{i}?"),
    Story("*", "{n}买了{a}包{i},每包{b}个,现在有几个?"),
    Story("++", "{n}有{a}个{i},又买了{b}个,{m}给{n}{c}个,现在有几个?"),
    Story("+-", "{n}有{a}个{i},又买了{b}个,用了{c}个,还有几个?"),
    Story("--", "盒里有{a}个{i},{n}拿走{b}个,{m}拿走{c}个,还有几个?"),
    Story("-+", "{n}有{a}个{i},用了{b}个,又买了{c}个,现在有几个?"),
    Story("*+", "{n}买了{a}包{i},每包{b}个,{m}给{n}{c}个,一共有几个?"),
    Story("*-", "有{a}个盒子,每盒有{b}个{i},{n}拿走{c}个,还有几个?"),
)
TRANSFER = (
    Story("+", "店里有{a}个{i},{n}又给了{b}个,店里有多少个{i}?"),
    Story("-", "店里有{a}个{i},{n}买走{b}个,店里还有多少个?"),
    Story("*", "{a}个人每人有{b}个{i},一共多少个?"),
    Story("+-", "店里有{a}个{i},又来了{b}个,{n}买走{c}个,店里还有多少个?"),
    Story("*+", "{a}个人每人有{b}个{i},{n}有{c}个,一共多少个?"),
    Story("*-", "{a}个人每人有{b}个{i},用了{c}个,还有多少个?"),
)


class WordProblemZh(Kind):
    """Worked step by step, or answered directly."""

    name = "word_problem_zh"
    group = "math"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A story; `transfer` has stories of its own and larger numbers."""
        words = {"n": NAMES_ZH, "m": NAMES_ZH, "i": ITEMS_ZH}
        if transfer:
            return draw_story(rng, TRANSFER, Numbers(start=(11, 40), later=(2, 15)), words)
        return draw_story(rng, STORIES, Numbers(), words)

    def verify(self, task: Task, message: Message) -> Verdict:
        """The answer is the right number and no other."""
        return judged(message, number_rule(message.content, task.check["answer"]))
