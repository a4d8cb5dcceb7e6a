"""Questions from the knowledge points of `telechat.tasks.facts`."""

from __future__ import annotations

import random

from telechat.core.types import Message, Rule, Task, Verdict
from telechat.tasks.answers import denied, has, judged, plain
from telechat.tasks.base import Draft, Kind, answer, ask
from telechat.tasks.facts import RELATIONS, Relation, points

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
        """The fact is there, no other candidate of its relation that the question did not name, and no list of other facts."""
        text = plain(message.content)
        relation = next(r for r in RELATIONS if r.name == task.check["relation"])
        prompt = plain(task.messages[-1].content)
        thing = task.check["thing"]
        facts = [task.check["fact"], *(f for f in relation.also.get(thing, ()) if not has(prompt, f))]
        fact = next((f for f in facts if has(text, f, relation.fold)), facts[0])
        rivals = _named(text, prompt, fact, relation)
        strangers = [name for other in RELATIONS if other is not relation for name in _named(text, prompt, fact, other)]
        return judged(
            message,
            Rule("fact", has(text, fact, relation.fold) and not denied(text, fact, relation.fold), f"want {fact}"),
            Rule("not both", relation.name != "反义" or not {thing + fact, fact + thing} & {text.strip("。“”")}, text[:60]),
            Rule(
                "nothing else", not rivals and len(set(strangers)) < 2 and len(text) <= 200, ", ".join(rivals + strangers)[:80]
            ),
        )


def _named(text: str, prompt: str, fact: str, relation: Relation) -> list[str]:
    """The facts and things of a relation that an answer names, but for the right one and those of the question."""
    names = dict.fromkeys((*relation.pairs.values(), *relation.pairs))
    return [name for name in names if name != fact and has(text, name, relation.fold) and not has(prompt, name)]
