"""Word problems of one and two steps: story templates, the arithmetic behind them, and how it is worked."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telechat.tasks.base import Draft, answer, ask


@dataclass(frozen=True)
class Story:
    """A template over the numbers {a}, {b}, {c} and the operators that lead from one to the next: `+`, `*-` …"""

    operators: str
    text: str


@dataclass(frozen=True)
class Numbers:
    """Ranges: the first number of a sum or difference, factors, and every later number (all inclusive)."""

    start: tuple[int, int] = (2, 20)
    factor: tuple[int, int] = (2, 9)
    later: tuple[int, int] = (2, 9)


def quantities(rng: random.Random, operators: str, numbers: Numbers) -> list[int]:
    """Numbers for a story whose every intermediate result lies between 0 and 99."""
    while True:
        first = [rng.randint(*(numbers.factor if operators[0] == "*" else numbers.start))]
        first.append(rng.randint(*(numbers.factor if operators[0] == "*" else numbers.later)))
        values = first + [rng.randint(*numbers.later) for _ in operators[1:]]
        if operators[0] == "+" and len(operators) == 1 and rng.random() < 0.5:
            values.reverse()
        results = [result for _, result in worked(operators, values)]
        if all(0 < result < 100 for result in results):
            return values


def worked(operators: str, values: Sequence[int]) -> list[tuple[str, int]]:
    """Every step as text with its result: `4*6=24`, then `24+7=31`."""
    steps = []
    total = values[0]
    for operator, value in zip(operators, values[1:], strict=True):
        result = total + value if operator == "+" else total - value if operator == "-" else total * value
        steps.append((f"{total}{operator}{value}={result}", result))
        total = result
    return steps


def draw_story(rng: random.Random, stories: Sequence[Story], numbers: Numbers, words: Mapping[str, Sequence[str]]) -> Draft:
    """A problem of one step or of two, half and half; `words` fills the other slots, each with different words."""
    two = rng.random() < 0.5
    story = rng.choice([s for s in stories if len(s.operators) == 1 + two])
    values = quantities(rng, story.operators, numbers)
    slots = {slot: rng.choice(choices) for slot, choices in words.items()}
    while slots["n"] == slots["m"]:
        slots["m"] = rng.choice(words["m"])
    text = story.text.format(a=values[0], b=values[1], c=values[-1], **slots)
    steps = worked(story.operators, values)
    result = str(steps[-1][1])
    paths = [answer(result, " ".join(step for step, _ in steps)), answer(result)]
    difficulty = 0.25 + 0.35 * two + 0.2 * (max(r for _, r in steps) > 20) + 0.2 * ("*" in story.operators)
    return Draft(ask(text), paths, {"answer": steps[-1][1]}, difficulty=difficulty)
