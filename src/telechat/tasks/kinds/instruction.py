"""Instructions with constraints on form, and content that must be right as well."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

from telechat.core.types import Message, Rule, Task, Verdict
from telechat.tasks.answers import judged, plain
from telechat.tasks.base import Draft, Kind, answer, ask
from telechat.tasks.words import MORE, TOPICS, TOPICS_ZH

VERBS, VERBS_TRANSFER = ("Name", "List", "Write"), ("Give me", "Tell me")
VERBS_ZH = ("写", "列出", "说出")
SEPARATORS = {", ": "separated by commas", "; ": "separated by semicolons", "-": "joined by dashes", "\n": "one per line"}
_SPACES = re.compile(r"[ \t]*([,;\n-])[ \t]*")
_ANY = re.compile(r"[,;.\n-]")
SAME = {"grey": "gray", "whiskey": "whisky", "pyjamas": "pajamas", "mice": "mouse", "geese": "goose", "oxen": "ox"}
PLURALS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""))
ENDINGS = ("done", "end", "stop", "bye")


@dataclass(frozen=True)
class Order:
    """What is wanted: `count` words of `topic` (or one given word that often), their case, how they are joined,
    numbered or not, sorted or not, from which letter on, and the last word of the answer."""

    topic: str
    count: int
    separator: str = ", "
    word: str = ""
    upper: bool = False
    numbered: bool = False
    ordered: bool = False
    first: str = ""
    ending: str = ""

    def shape(self, words: Sequence[str]) -> str:
        """The answer that holds `words`."""
        words = sorted(words) if self.ordered else list(words)
        if self.upper:
            words = [word.upper() for word in words]
        if self.numbered:
            words = [f"{number}. {word}" for number, word in enumerate(words, 1)]
        return self.separator.join(words) + (f" {self.ending}" if self.ending else "")

    def plan(self, words: Sequence[str]) -> str:
        """What to think of before the answer that holds `words`: how many there must be, then each with its number; or
        what the one word is looked for by."""
        words = [word.upper() if self.upper else word for word in words]
        if self.first:
            return f"{self.topic} {self.first}: {' '.join(words)}"
        counted = " ".join(f"{number} {word}" for number, word in enumerate(words, 1))
        return f"{self.count}: {counted}" + (f" {self.ending}" if self.ending else "")


def _joined(rng: random.Random, topic: str, count: int) -> tuple[Order, str]:
    separator, words = rng.choice(list(SEPARATORS.items()))
    return Order(topic, count, separator), f"{count} {topic}, {words}."


def _capitals(rng: random.Random, topic: str, count: int) -> tuple[Order, str]:
    separator, words = rng.choice(list(SEPARATORS.items()))
    return Order(topic, count, separator, upper=True), f"{count} {topic} in capitals, {words}."


def _numbered(rng: random.Random, topic: str, count: int) -> tuple[Order, str]:
    return Order(topic, count, "\n", numbered=True), f"{count} {topic} as a numbered list."


def _ordered(rng: random.Random, topic: str, count: int) -> tuple[Order, str]:
    separator, words = rng.choice(list(SEPARATORS.items()))
    return Order(topic, count, separator, ordered=True), f"{count} {topic} from A to Z, {words}."


def _ending(rng: random.Random, topic: str, count: int) -> tuple[Order, str]:
    ending = rng.choice(ENDINGS)
    return Order(topic, count, " ", ending=ending), f'{count} {topic} and end with "{ending}".'


def _repeated(rng: random.Random, topic: str, count: int) -> tuple[Order, str]:
    word = rng.choice(TOPICS[topic])
    separator, words = rng.choice(list(SEPARATORS.items()))
    return Order(topic, count, separator, word=word), f'the word "{word}" {count} times, {words}.'


def _letter(rng: random.Random, topic: str, count: int) -> tuple[Order, str]:
    letter = rng.choice(sorted({word[0] for word in TOPICS[topic]}))
    return Order(topic, 1, first=letter, upper=count % 2 == 0), (
        f'one of the {topic} that starts with "{letter}"{", in capitals" if count % 2 == 0 else ""}.'
    )


def _chinese(rng: random.Random, topic: str, count: int) -> tuple[Order, str]:
    zh, verb = rng.choice(list(TOPICS_ZH)), rng.choice(VERBS_ZH)
    separator, words = rng.choice(((",", "用逗号分开"), (";", "用分号分开"), ("\n", "每行一个")))
    numbered = separator == "\n" and rng.random() < 0.5
    return Order(zh, count, separator, numbered=numbered), f"{verb}{count}个{zh},{words}{'并编号' if numbered else ''}"


FAMILIES = (_joined, _capitals, _numbered, _ordered, _ending, _repeated, _letter, _chinese)


class Instruction(Kind):
    """Words of a topic in the form that is asked for: chosen and counted first, or written at once."""

    name = "instruction"
    group = "general"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A topic, a number and a form; `transfer` has other verbs and asks for up to 6 words."""
        topic = rng.choice(list(TOPICS))
        count = rng.randint(2, 6 if transfer else 5)
        order, text = rng.choice(FAMILIES)(rng, topic, count)
        words = sorted(_words(order)) if order.ordered else _words(order)
        if order.topic in TOPICS:
            text = f"{rng.choice(VERBS_TRANSFER if transfer else VERBS)} {text}"
        elif transfer:
            text = "请" + text
        paths = []
        for chosen, thinks in ((words[: order.count], True), (words[: order.count], False), (_other(rng, order, words), False)):
            used = sorted(chosen) if order.ordered else chosen
            paths.append(answer(order.shape(used), order.plan(used) if thinks else None))
        difficulty = 0.1 * order.count + 0.15 * (order.upper + order.numbered + 2 * order.ordered + bool(order.first))
        return Draft(ask(text), paths, asdict(order), difficulty=difficulty)

    def verify(self, task: Task, message: Message) -> Verdict:
        """The form is exactly what was asked for, and the words are different ones of the topic."""
        order = Order(**task.check)
        text = plain(message.content)
        words = _read(order, text)
        known = set(_words(replace(order, first=""))) | ({*MORE[order.topic].split()} if not order.word else set())
        bases = [_base(word, known) for word in words]
        right = all(base in known and word.startswith(order.first) for base, word in zip(bases, words, strict=True))
        different = len(set(bases)) == len(words) or bool(order.word)
        return judged(
            message,
            Rule("count", len(words) == order.count, f"{len(words)} words, want {order.count}"),
            Rule("content", bool(words) and right and different, ", ".join(words)[:80]),
            Rule("form", bool(words) and _same_form(order, words, text), text[:80]),
        )


def _words(order: Order) -> list[str]:
    """The words that may stand in the answer, the most usual first."""
    if order.word:
        return [order.word] * order.count
    words = TOPICS_ZH.get(order.topic) or TOPICS[order.topic]
    return [word for word in words if word.startswith(order.first)]


def _base(word: str, known: Collection[str]) -> str:
    """The one of `known` that `word` is a form of (a plural, 红色 for 红, 老虎 for 虎), or `word` itself."""
    forms = [SAME.get(word, word)]
    forms += [word.removesuffix(end) + start for end, start in PLURALS if word.endswith(end)]
    forms += [form for form in (word.rstrip("色子"), word.lstrip("老小大")) if form and not word.isascii()]
    found = [form for form in forms if form in known]
    return min(found, key=len) if found else word


def _other(rng: random.Random, order: Order, words: list[str]) -> list[str]:
    return rng.sample(words, min(order.count, len(words)))


def _read(order: Order, text: str) -> list[str]:
    """The words of an answer in lower case, without numbers, separators and the last word."""
    for mark in (",", ";", "-", "\n", ".", "、"):
        text = text.replace(mark, " ")
    words = [word.lower() for word in text.split() if not (order.numbered and word.isdigit())]
    return words[:-1] if order.ending and words[-1:] == [order.ending] else words


def _same_form(order: Order, words: Sequence[str], got: str) -> bool:
    """Equal but for a final full stop and spaces beside separators; lower-case words may start with a capital. Where no
    separator was asked for, any will do."""
    want = order.shape(words)
    if order.ending:
        want, got = (" ".join(_ANY.sub(" ", text).split()) for text in (want, got))
    want, got = (_SPACES.sub(r"\1", text.removesuffix(".").removesuffix("。")) for text in (want, got))
    return want == got or (not want.isupper() and want.lower() == got.lower() and not got.isupper())
