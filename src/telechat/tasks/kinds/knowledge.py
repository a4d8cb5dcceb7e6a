"""Questions from the knowledge points of `telechat.tasks.facts`."""

from __future__ import annotations

import random

from telechat.core.types import Message, Rule, Task, Verdict
from telechat.tasks.answers import has, judged, plain
from telechat.tasks.base import Draft, Kind, answer, ask
from telechat.tasks.facts import RELATIONS, points

OPENERS, OPENERS_ZH = ("", "", "Question: "), ("", "", "问:")


class Knowledge(Kind):
    """The fact, recalled by naming thing and relation first, or at once, or in a sentence."""

    name = "knowledge"
    group = "general"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A knowledge point and a wording of its question."""
        point = rng.choice(points())
        relation = point.relation
        text = rng.choice(relation.transfer if transfer else relation.questions).format(x=point.thing)
        text = rng.choice(OPENERS if text.isascii() else OPENERS_ZH) + text
        sentence = relation.statements[0].format(x=point.thing, y=point.fact)
        paths = [answer(point.fact, sentence), answer(point.fact), answer(sentence)]
        return Draft(ask(text), paths, {"relation": relation.name, "thing": point.thing, "fact": point.fact}, difficulty=0.4)

    def verify(self, task: Task, message: Message) -> Verdict:
        """The fact is there, and no other candidate of its relation that the question did not name."""
        text = plain(message.content)
        relation = next(r for r in RELATIONS if r.name == task.check["relation"])
        prompt = plain(task.messages[-1].content)
        candidates = dict.fromkeys((*relation.pairs.values(), *relation.pairs))
        others = [c for c in candidates if c != task.check["fact"] and not has(prompt, c) and has(text, c, relation.fold)]
        return judged(
            message,
            Rule("fact", has(text, task.check["fact"], relation.fold), f"want {task.check['fact']}"),
            Rule("nothing else", not others and len(text) <= 200, ", ".join(others)[:80]),
        )
