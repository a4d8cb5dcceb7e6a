"""Facts in a sentence and a schema: the answer is the JSON object that holds them."""

from __future__ import annotations

import json
import random
from typing import Any

from telechat.core.types import Message, Rule, Task, Verdict
from telechat.tasks.answers import code_of, judged
from telechat.tasks.base import Draft, Kind, answer, ask
from telechat.tasks.coding import same
from telechat.tasks.words import CITIES, ITEMS, NAMES, TOPICS

WORDINGS = (
    "{facts} Answer as JSON: {schema}",
    "{facts} Give JSON like {schema}",
    "JSON {schema} for: {facts}",
    "{facts} 写成JSON: {schema}",
)
TRANSFER = (
    "{facts} Put this into JSON of the form {schema}",
    "Turn this into JSON {schema}. {facts}",
    "{facts} 用JSON回答: {schema}",
)


def _person(rng: random.Random, top: int) -> tuple[dict[str, Any], str]:
    name, age, city = rng.choice(NAMES), rng.randint(10, top), rng.choice(CITIES)
    likes = rng.sample(TOPICS["drinks"], 2)
    values = {"name": name, "age": age, "city": city, "likes": likes}
    return values, f"{name} is {age}, lives in {city} and likes {likes[0]} and {likes[1]}."


def _order(rng: random.Random, top: int) -> tuple[dict[str, Any], str]:
    name, item, count, paid = rng.choice(NAMES), rng.choice(ITEMS), rng.randint(2, top), rng.random() < 0.5
    values = {"name": name, "item": item, "count": count, "paid": paid}
    return values, f"{name} orders {count} {item} and has {'' if paid else 'not '}paid."


def _trip(rng: random.Random, top: int) -> tuple[dict[str, Any], str]:
    start, end = rng.sample(CITIES, 2)
    name, days = rng.choice(NAMES), rng.randint(2, top)
    values = {"name": name, "from": start, "to": end, "days": days}
    return values, f"{name} goes from {start} to {end} for {days} days."


FACTS = (_person, _order, _trip)
_TYPES = {str: "string", int: "integer", bool: "boolean"}


def _type(value: Any) -> Any:
    return [_type(value[0])] if isinstance(value, list) else _TYPES[type(value)]


class JsonSchema(Kind):
    """Two or three of the facts, under the names and with the types that the schema gives."""

    name = "json_schema"
    group = "general"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A sentence of facts and a schema over some of them, in any order."""
        values, facts = rng.choice(FACTS)(rng, 90 if transfer else 30)
        keys = rng.sample(list(values), rng.choice((2, 3)))
        want = {key: values[key] for key in keys}
        schema = json.dumps({key: _type(value) for key, value in want.items()})
        text = rng.choice(TRANSFER if transfer else WORDINGS).format(facts=facts, schema=schema)
        thinking = ", ".join(f"{key} {_shown(value)}" for key, value in want.items())
        content = json.dumps(want)
        difficulty = 0.2 * len(keys) + 0.2 * any(isinstance(value, list | bool) for value in want.values())
        return Draft(ask(text), [answer(content, thinking), answer(content)], {"want": want}, difficulty=difficulty)

    def verify(self, task: Task, message: Message) -> Verdict:
        """One JSON object with exactly these keys, and the right values of the right types."""
        got = _read(code_of(message.content) or "")
        want = task.check["want"]
        if not isinstance(got, dict):
            return judged(message, Rule("object", False, "no JSON object"))
        return judged(
            message,
            Rule("schema", got.keys() == want.keys(), ", ".join(got)[:80]),
            *(Rule(f"value {key}", same(got.get(key), value), repr(got.get(key))[:60]) for key, value in want.items()),
        )


def _shown(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else json.dumps(value).strip('"')


def _read(text: str) -> Any:
    """The JSON document, or None: also for doubled keys, NaN and anything after it."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    def refuse(token: str) -> None:
        raise ValueError(token)

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
