"""Knowledge points: who knows them can answer the knowledge questions, whatever the wording.

`statements()` says all of them in several sentences each; pretraining reads nineteen of twenty, the others are held out.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Relation:
    """A relation between things and their facts, the questions about it and the sentences that state it.

    `{x}` is the thing, `{y}` the fact. `fold` says whether capitals do not matter.
    """

    name: str
    pairs: dict[str, str]
    questions: tuple[str, ...]
    transfer: tuple[str, ...]
    statements: tuple[str, ...]
    fold: bool = True
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # thing → other facts that are right as well


@dataclass(frozen=True)
class Point:
    """One knowledge point."""

    relation: Relation
    thing: str
    fact: str


_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Japan": "Tokyo", "China": "Beijing",
    "Egypt": "Cairo", "Peru": "Lima", "Cuba": "Havana", "Norway": "Oslo", "Greece": "Athens", "Russia": "Moscow",
    "Poland": "Warsaw", "Kenya": "Nairobi", "Austria": "Vienna", "Britain": "London", "Portugal": "Lisbon",
    "Canada": "Ottawa", "India": "Delhi", "Ireland": "Dublin",
}  # fmt: skip
_CONTINENTS = {
    "France": "Europe", "Italy": "Europe", "Japan": "Asia", "China": "Asia", "India": "Asia", "Egypt": "Africa",
    "Kenya": "Africa", "Peru": "America", "Cuba": "America", "Canada": "America", "Norway": "Europe", "Greece": "Europe",
}  # fmt: skip
_LANGUAGES = {
    "France": "French", "Italy": "Italian", "Spain": "Spanish", "Germany": "German", "Japan": "Japanese", "China": "Chinese",
    "Egypt": "Arabic", "Greece": "Greek", "Russia": "Russian", "Poland": "Polish", "Britain": "English",
    "Portugal": "Portuguese",
}  # fmt: skip
_MONEY = {
    "Japan": "yen",
    "China": "yuan",
    "India": "rupee",
    "Russia": "ruble",
    "Britain": "pound",
    "France": "euro",
    "Canada": "dollar",
}
_SYMBOLS = {
    "gold": "Au", "silver": "Ag", "iron": "Fe", "copper": "Cu", "oxygen": "O", "hydrogen": "H", "carbon": "C",
    "nitrogen": "N", "lead": "Pb", "tin": "Sn", "zinc": "Zn", "helium": "He",
}  # fmt: skip
_NUMBERS = {
    "hydrogen": "1",
    "helium": "2",
    "carbon": "6",
    "nitrogen": "7",
    "oxygen": "8",
    "iron": "26",
    "copper": "29",
    "zinc": "30",
}
_OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "high": "low", "old": "new", "full": "empty", "open": "closed",
    "hard": "soft", "rich": "poor", "dark": "light", "wet": "dry", "up": "down", "day": "night", "good": "bad",
}  # fmt: skip
_YOUNG = {
    "dog": "puppy", "cat": "kitten", "cow": "calf", "horse": "foal", "sheep": "lamb", "pig": "piglet", "lion": "cub",
    "duck": "duckling",
}  # fmt: skip
_PYTHON = {
    "define a function": "def", "give back a value": "return", "leave a loop": "break", "make a new type": "class",
    "load a module": "import", "catch an error": "except", "signal an error": "raise", "show a text": "print",
    "sort a list": "sorted", "add up a list": "sum", "get a length": "len", "read a line": "input",
}  # fmt: skip
_LANGUAGES_ALSO = {"China": ("Mandarin",)}
_MONEY_ALSO = {
    "China": ("renminbi", "RMB"), "India": ("rupees",), "Russia": ("rubles", "rouble", "roubles"),
    "Britain": ("pounds", "sterling"), "France": ("euros",), "Canada": ("dollars",),
}  # fmt: skip
_OPPOSITES_ALSO = {
    "hot": ("cool",), "big": ("little",), "old": ("young",), "open": ("shut", "close"), "hard": ("easy",), "dark": ("bright",),
    "good": ("evil",),
}  # fmt: skip
_PYTHON_ALSO = {"read a line": ("readline",), "sort a list": ("sort()",), "make a new type": ("type()",)}
_YOUNG_ALSO = {"dog": ("pup",), "horse": ("colt", "filly")}
_OPPOSITES_ZH_ALSO = {"开": ("闭", "合")}
_CAPITALS_ZH = {
    "法国": "巴黎", "中国": "北京", "日本": "东京", "英国": "伦敦", "德国": "柏林", "意大利": "罗马", "俄国": "莫斯科",
    "埃及": "开罗",
}  # fmt: skip
_OPPOSITES_ZH = {"大": "小", "高": "低", "多": "少", "冷": "热", "快": "慢", "长": "短", "黑": "白", "开": "关"}

RELATIONS: tuple[Relation, ...] = (
    Relation(
        "capital",
        _CAPITALS,
        (
            "What is the capital of {x}?",
            "Name the capital of {x}.",
            "The capital of {x} is",
            "{x}: capital?",
            "Which city is the capital of {x}?",
        ),
        ("Tell me {x}'s capital.", "From which city is {x} ruled?"),
        ("The capital of {x} is {y}.", "{y} is the capital of {x}.", "Capital of {x}: {y}."),
    ),
    Relation(
        "continent",
        _CONTINENTS,
        (
            "On which continent is {x}?",
            "Name the continent of {x}.",
            "The continent of {x} is",
            "{x}: continent?",
            "Where is {x}, on which continent?",
        ),
        ("Tell me {x}'s continent.", "Which part of the world is {x} in?"),
        ("{x} is in {y}.", "The continent of {x} is {y}.", "Continent of {x}: {y}."),
    ),
    Relation(
        "language",
        _LANGUAGES,
        (
            "Which language is spoken in {x}?",
            "Name the language of {x}.",
            "The language of {x} is",
            "{x}: language?",
            "What do people speak in {x}?",
        ),
        ("Tell me {x}'s language.", "In which language does {x} talk?"),
        ("The language of {x} is {y}.", "People speak {y} in {x}.", "Language of {x}: {y}."),
        also=_LANGUAGES_ALSO,
    ),
    Relation(
        "money",
        _MONEY,
        (
            "What is the money of {x}?",
            "Name the money of {x}.",
            "The money of {x} is the",
            "{x}: money?",
            "With which money does one pay in {x}?",
        ),
        ("Tell me {x}'s money.", "Which money is used in {x}?"),
        ("The money of {x} is the {y}.", "In {x} one pays with the {y}.", "Money of {x}: {y}."),
        also=_MONEY_ALSO,
    ),
    Relation(
        "symbol",
        _SYMBOLS,
        (
            "What is the symbol of {x}?",
            "Name the symbol of {x}.",
            "The symbol of {x} is",
            "{x}: symbol?",
            "Which symbol has the element {x}?",
        ),
        ("Tell me the symbol for {x}.", "How does a chemist write {x}?"),
        ("The symbol of {x} is {y}.", "{y} is the symbol of {x}.", "Symbol of {x}: {y}."),
        fold=False,
    ),
    Relation(
        "atomic number",
        _NUMBERS,
        (
            "What is the atomic number of {x}?",
            "Name the atomic number of {x}.",
            "The atomic number of {x} is",
            "{x}: atomic number?",
            "Which atomic number has {x}?",
        ),
        ("Tell me the atomic number for {x}.", "How many protons has {x}?"),
        ("The atomic number of {x} is {y}.", "{y} is the atomic number of {x}.", "Atomic number of {x}: {y}."),
    ),
    Relation(
        "opposite",
        _OPPOSITES,
        (
            "What is the opposite of {x}?",
            "Name the opposite of {x}.",
            "The opposite of {x} is",
            "{x}: opposite?",
            "Which word is the opposite of {x}?",
        ),
        ("Tell me the opposite word for {x}.", "If it is not {x}, what is it?"),
        ("The opposite of {x} is {y}.", "{y} is the opposite of {x}.", "Opposite of {x}: {y}."),
        also=_OPPOSITES_ALSO,
    ),
    Relation(
        "young",
        _YOUNG,
        (
            "What is a young {x} called?",
            "Name the young of a {x}.",
            "A young {x} is a",
            "{x}: young?",
            "Which word means a young {x}?",
        ),
        ("Tell me the word for a baby {x}.", "What does one call the child of a {x}?"),
        ("A young {x} is a {y}.", "A {y} is a young {x}.", "Young {x}: {y}."),
        also=_YOUNG_ALSO,
    ),
    Relation(
        "Python",
        _PYTHON,
        (
            "Which Python word is used to {x}?",
            "Name the Python word to {x}.",
            "To {x} in Python, use",
            "Python: {x}?",
            "How do I {x} in Python?",
        ),
        ("Tell me the word to {x} in Python.", "What helps to {x} in Python?"),
        ("To {x} in Python, use {y}.", "Use {y} to {x} in Python.", "Python word to {x}: {y}."),
        also=_PYTHON_ALSO,
    ),
    Relation(
        "首都",
        _CAPITALS_ZH,
        ("{x}的首都是哪里?", "{x}的首都是", "说出{x}的首都", "{x}首都叫什么?", "哪里是{x}的首都?"),
        ("请问{x}首都在哪里?", "我要去{x}的首都,是哪里?"),
        ("{x}的首都是{y}。", "{y}是{x}的首都。", "{x}首都:{y}。"),
    ),
    Relation(
        "反义",
        _OPPOSITES_ZH,
        ("“{x}”的反义词是什么?", "“{x}”的反义词是", "说出“{x}”的反义词", "“{x}”反过来是什么?", "什么是“{x}”的反义词?"),
        ("请问“{x}”的反义词?", "不是“{x}”,是什么?"),
        ("“{x}”的反义词是“{y}”。", "“{y}”是“{x}”的反义词。", "“{x}”反义词:“{y}”。"),
        also=_OPPOSITES_ZH_ALSO,
    ),
)


@functools.cache
def points() -> tuple[Point, ...]:
    """All knowledge points, in a fixed order."""
    return tuple(Point(relation, x, y) for relation in RELATIONS for x, y in relation.pairs.items())


def statements() -> list[str]:
    """Sentences that state every knowledge point in several ways, in a fixed order."""
    return [text.format(x=point.thing, y=point.fact) for point in points() for text in point.relation.statements]
