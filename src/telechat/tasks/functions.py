"""Families of small functions `f(x)`: what they should do in words, right code, a wrong version, and their tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Make = Callable[[random.Random, Any], Any]
_SMALL = tuple(range(2, 10))
WORDS = ("cat", "dog", "tea", "red", "book", "lion", "milk", "apple", "banana", "level")


def _number(rng: random.Random, c: Any) -> int:
    return rng.randint(-30, 60)


def _near(rng: random.Random, c: Any) -> int:
    return rng.choice((rng.randint(-20, 40), c * 2))


def _multiple(rng: random.Random, c: Any) -> int:
    return rng.choice((c * rng.randint(1, 9), c * rng.randint(1, 9) + rng.randint(1, c - 1)))


def _numbers(rng: random.Random, c: Any) -> list[int]:
    return [rng.randint(1, 20) for _ in range(rng.randint(3, 7))]


def _numbers_with(rng: random.Random, c: Any) -> list[int]:
    return rng.sample([c] * rng.randint(1, 3) + [c + 1, c - 1] + _numbers(rng, c), 5)


def _maybe_with(rng: random.Random, c: Any) -> list[int]:
    return rng.sample([*_numbers(rng, c), c], 3)


def _word(rng: random.Random, c: Any) -> str:
    return rng.choice(WORDS)


def _word_with(rng: random.Random, c: Any) -> str:
    return rng.choice(WORDS) + c * rng.randint(0, 2) + rng.choice(WORDS)


def _word_from(rng: random.Random, c: Any) -> str:
    return rng.choice((c, "")) + rng.choice(WORDS)


@dataclass(frozen=True)
class Family:
    """One family. `{c}` in the texts is the constant; `code` is the expression that `f` returns, `wrong` a near miss,
    `other` a second right body (a whole body, each line indented by four spaces) where one is natural."""

    en: str
    zh: str
    code: str
    wrong: str
    make: Make
    want: Callable[[Any, Any], Any]
    constants: Sequence[Any] = _SMALL
    other: str | None = None


_FEW = (1, 2, 3)
_LETTERS = ("a", "b", "e", "l", "o", "t")
FAMILIES: dict[str, Family] = {
    "add": Family("adds {c} to x", "把x加{c}", "x + {c}", "x - {c}", _number, lambda x, c: x + c),
    "sub": Family("takes {c} from x", "把x减{c}", "x - {c}", "x + {c}", _number, lambda x, c: x - c),
    "mul": Family("multiplies x by {c}", "把x乘{c}", "x * {c}", "x + {c}", _number, lambda x, c: x * c),
    "mod": Family("gives the rest of x divided by {c}", "求x除{c}的余数", "x % {c}", "x // {c}", _number, lambda x, c: x % c),
    "div": Family("divides x by {c}, rounded down", "把x整除{c}", "x // {c}", "x % {c}", _number, lambda x, c: x // c),
    "square_add": Family(
        "adds {c} to the square of x", "把x的平方加{c}", "x * x + {c}", "x + x + {c}", _number, lambda x, c: x * x + c
    ),
    "double_add": Family(
        "doubles x and adds {c}", "把x乘2再加{c}", "x * 2 + {c}", "x * 2 - {c}", _number, lambda x, c: 2 * x + c
    ),
    "more": Family("tells if x is more than {c}", "看x是不是大于{c}", "x > {c}", "x < {c}", _near, lambda x, c: x > c),
    "less": Family("tells if x is less than {c}", "看x是不是小于{c}", "x < {c}", "x <= {c}", _near, lambda x, c: x < c),
    "divisible": Family(
        "tells if {c} divides x", "看{c}能不能整除x", "x % {c} == 0", "x % {c} == 1", _multiple, lambda x, c: x % c == 0
    ),
    "larger": Family(
        "gives the larger of x and {c}",
        "求x和{c}中大的数",
        "max(x, {c})",
        "min(x, {c})",
        _near,
        max,
        other="    if x > {c}:\n        return x\n    return {c}",
    ),
    "smaller": Family(
        "gives the smaller of x and {c}",
        "求x和{c}中小的数",
        "min(x, {c})",
        "max(x, {c})",
        _near,
        min,
        other="    if x < {c}:\n        return x\n    return {c}",
    ),
    "distance": Family(
        "gives the distance of x and {c}", "求x和{c}的距离", "abs(x - {c})", "abs(x + {c})", _number, lambda x, c: abs(x - c)
    ),
    "sum_add": Family(
        "sums the list x and adds {c}", "求表x的和再加{c}", "sum(x) + {c}", "sum(x) - {c}", _numbers, lambda x, c: sum(x) + c
    ),
    "max_add": Family(
        "adds {c} to the largest item of the list x",
        "把表x中最大的数加{c}",
        "max(x) + {c}",
        "min(x) + {c}",
        _numbers,
        lambda x, c: max(x) + c,
    ),
    "first": Family(
        "gives the first {c} items of the list x", "求表x的前{c}个数", "x[:{c}]", "x[{c}:]", _numbers, lambda x, c: x[:c], _FEW
    ),
    "skip": Family(
        "drops the first {c} items of the list x",
        "去掉表x的前{c}个数",
        "x[{c}:]",
        "x[:{c}]",
        _numbers,
        lambda x, c: x[c:],
        _FEW,
    ),
    "append": Family(
        "puts {c} at the end of the list x", "在表x后面加上{c}", "x + [{c}]", "[{c}] + x", _numbers, lambda x, c: [*x, c]
    ),
    "count": Family(
        "counts how often {c} is in the list x",
        "求{c}在表x中有几个",
        "x.count({c})",
        "len(x)",
        _numbers_with,
        lambda x, c: x.count(c),
    ),
    "contains": Family(
        "tells if {c} is in the list x", "看{c}在不在表x中", "{c} in x", "{c} not in x", _maybe_with, lambda x, c: c in x
    ),
    "add_each": Family(
        "adds {c} to each item of the list x",
        "把表x中每个数加{c}",
        "[i + {c} for i in x]",
        "[i - {c} for i in x]",
        _numbers,
        lambda x, c: [i + c for i in x],
    ),
    "mul_each": Family(
        "multiplies each item of the list x by {c}",
        "把表x中每个数乘{c}",
        "[i * {c} for i in x]",
        "[i + {c} for i in x]",
        _numbers,
        lambda x, c: [i * c for i in x],
    ),
    "keep_more": Family(
        "keeps the items of the list x above {c}",
        "求表x中大于{c}的数",
        "[i for i in x if i > {c}]",
        "[i for i in x if i < {c}]",
        _numbers_with,
        lambda x, c: [i for i in x if i > c],
    ),
    "reverse": Family(
        "reverses the list x",
        "把表x反过来",
        "x[::-1]",
        "x[:-1]",
        _numbers,
        lambda x, c: x[::-1],
        constants=(0,),
        other="    return list(reversed(x))",
    ),
    "sort": Family(
        "sorts the list x", "把表x从小到大排好", "sorted(x)", "x[::-1]", _numbers, lambda x, c: sorted(x), constants=(0,)
    ),
    "upper": Family(
        "puts the text x in capitals", "把文字x变成大写", "x.upper()", "x.lower()", _word, lambda x, c: x.upper(), (0,)
    ),
    "repeat": Family("repeats the text x {c} times", "把文字x写{c}次", "x * {c}", "x + {c}", _word, lambda x, c: x * c),
    "letters": Family(
        'counts the letter "{c}" in the text x',
        '求文字x中有几个"{c}"',
        'x.count("{c}")',
        "len(x)",
        _word_with,
        lambda x, c: x.count(c),
        _LETTERS,
    ),
    "starts": Family(
        'tells if the text x starts with "{c}"',
        '看文字x是不是从"{c}"开始',
        'x.startswith("{c}")',
        'x.endswith("{c}")',
        _word_from,
        lambda x, c: x.startswith(c),
        _LETTERS,
    ),
    "ending": Family(
        'puts "{c}" after the text x', '在文字x后面加上"{c}"', 'x + "{c}"', '"{c}" + x', _word, lambda x, c: x + c, _LETTERS
    ),
}
TESTS = 6


@dataclass(frozen=True)
class Drawn:
    """A family with its constant: the words, right and wrong code, and arguments with the values that they must give."""

    family: Family
    constant: Any
    arguments: list[Any]
    wants: list[Any]

    def fill(self, text: str) -> str:
        """`text` with the constant in its place."""
        return text.replace("{c}", str(self.constant))

    def source(self, expression: str | None = None) -> str:
        """The whole function that returns `expression` (by default the right one)."""
        return f"def f(x):\n    return {self.fill(expression or self.family.code)}"


def draw_function(rng: random.Random, constants: Sequence[int] | None = None) -> Drawn:
    """A function and hidden tests that tell it from its near miss; `constants` replaces 2–9 where a family takes these."""
    family = rng.choice(list(FAMILIES.values()))
    pool = family.constants
    if constants is not None and pool is _SMALL:
        pool = constants
    constant = rng.choice(pool)
    for _ in range(100):
        arguments = [constant, constant - 1, constant + 1] if family.make is _near else []
        while len(arguments) < TESTS:
            argument = family.make(rng, constant)
            if argument not in arguments:
                arguments.append(argument)
        wants = [family.want(argument, constant) for argument in arguments]
        if len({str(want) for want in wants}) > 1:
            return Drawn(family, constant, arguments, wants)
    raise AssertionError("a family whose tests all want the same value")
