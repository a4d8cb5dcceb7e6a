"""Families of short programs for output prediction: the program, what it prints, and a compact trace."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

SHORT = ("cat", "dog", "cow", "pig", "tea", "hat", "red", "pen", "cup", "egg", "saw", "axe")
PAIRS = (("yes", "no"), ("big", "small"), ("red", "blue"), ("hot", "cold"), ("cat", "dog"))


@dataclass(frozen=True)
class Snippet:
    """A program, its exact output (without the last line end), and what to write down on the way."""

    code: str
    output: str
    trace: str


def _items(rng: random.Random, low: int, high: int) -> list[int]:
    return rng.sample(range(1, 10), rng.randint(low, high))


def add_loop(rng: random.Random, top: int) -> Snippet:
    """A constant is added a few times."""
    s, n, step = rng.randint(0, top), rng.randint(2, 4), rng.randint(2, 9)
    code = f"s = {s}\nfor i in range({n}):\n    s += {step}\nprint(s)"
    trace = " ".join(f"{i + 1}: {s + step * i}+{step}={s + step * (i + 1)}" for i in range(n))
    return Snippet(code, str(s + step * n), trace)


def list_loop(rng: random.Random, top: int) -> Snippet:
    """The items of a list are added up."""
    x = _items(rng, 2, 4)
    s = rng.randint(0, top)
    sums = [s + sum(x[:i]) for i in range(len(x) + 1)]
    trace = " ".join(f"{before}+{item}={after}" for before, item, after in zip(sums, x, sums[1:], strict=False))
    return Snippet(f"s = {s}\nfor i in {x}:\n    s += i\nprint(s)", str(sums[-1]), trace)


def countdown(rng: random.Random, top: int) -> Snippet:
    """A number falls until it is small enough."""
    step, rounds = rng.randint(2, 6), rng.randint(1, 4)
    stop = rng.randint(2, top)
    start = stop + step * rounds - rng.randint(0, step - 1)
    trace = " ".join(f"{start - step * i}-{step}={start - step * (i + 1)}" for i in range(rounds))
    return Snippet(f"n = {start}\nwhile n > {stop}:\n    n -= {step}\nprint(n)", str(start - step * rounds), trace)


def index(rng: random.Random, top: int) -> Snippet:
    """One item of a list."""
    x = _items(rng, 3, 5)
    at = rng.randrange(len(x))
    trace = " ".join(f"{i}:{item}" for i, item in enumerate(x[: at + 1]))
    return Snippet(f"x = {x}\nprint(x[{at}])", str(x[at]), trace)


def length(rng: random.Random, top: int) -> Snippet:
    """The length of a list."""
    x = _items(rng, 2, 6)
    return Snippet(f"x = {x}\nprint(len(x))", str(len(x)), " ".join(str(i + 1) for i in range(len(x))))


def extreme(rng: random.Random, top: int) -> Snippet:
    """The largest or smallest item of a list, found from left to right."""
    x, which = _items(rng, 3, 4), rng.choice((max, min))
    trace = " ".join(str(which(x[: i + 1])) for i in range(len(x)))
    return Snippet(f"x = {x}\nprint({which.__name__}(x))", str(which(x)), trace)


def branch(rng: random.Random, top: int) -> Snippet:
    """One of two words, by a comparison."""
    x, limit = rng.randint(1, 9 + top), rng.randint(1, 9 + top)
    yes, no = rng.choice(PAIRS)
    sign = rng.choice("<>")
    holds = x > limit if sign == ">" else x < limit
    code = f'x = {x}\nif x {sign} {limit}:\n    print("{yes}")\nelse:\n    print("{no}")'
    return Snippet(code, yes if holds else no, f"{x}{sign}{limit} {holds}")


def repeat(rng: random.Random, top: int) -> Snippet:
    """A short text several times."""
    word, times = rng.choice((*SHORT, *"abcdxyz")), rng.randint(2, 4)
    trace = " ".join(f"{i}: {word}" for i in range(1, times + 1))
    return Snippet(f'print("{word}" * {times})', word * times, trace)


def shout(rng: random.Random, top: int) -> Snippet:
    """A word in capitals."""
    word = rng.choice(SHORT)
    n = rng.randint(2, 9)
    return Snippet(f'x = "{word}"\nprint(x.upper(), {n})', f"{word.upper()} {n}", word.upper())


def backwards(rng: random.Random, top: int) -> Snippet:
    """A list from the last item to the first."""
    x = _items(rng, 2, 4)
    trace = " ".join(f"{i}:{item}" for i, item in reversed(list(enumerate(x))))
    return Snippet(f"x = {x}\nprint(x[::-1])", str(x[::-1]), trace)


def lookup(rng: random.Random, top: int) -> Snippet:
    """A value of a dictionary."""
    keys = rng.sample("abcde", 3)
    table = {key: rng.randint(1, 9 + top) for key in keys}
    key = rng.choice(keys)
    shown = ", ".join(f'"{k}": {v}' for k, v in table.items())
    return Snippet(f'd = {{{shown}}}\nprint(d["{key}"])', str(table[key]), f"{key} {table[key]}")


def swap(rng: random.Random, top: int) -> Snippet:
    """Two variables change places."""
    a, b = rng.sample(range(1, 10 + top), 2)
    name = rng.choice("ab")
    out = b if name == "a" else a
    return Snippet(f"a = {a}\nb = {b}\na, b = b, a\nprint({name})", str(out), f"a={b} b={a}, {name}={out}")


def append(rng: random.Random, top: int) -> Snippet:
    """A list grows by one item."""
    x, item = _items(rng, 1, 3), rng.randint(1, 9)
    return Snippet(f"x = {x}\nx.append({item})\nprint(x)", str([*x, item]), " ".join(map(str, [*x, item])))


def cut(rng: random.Random, top: int) -> Snippet:
    """The head or the tail of a list."""
    x = _items(rng, 3, 4)
    at = rng.randint(1, 2)
    code, out = rng.choice(((f"x[:{at}]", x[:at]), (f"x[{at}:]", x[at:])))
    trace = " ".join([*(f"{i}:{item}" for i, item in enumerate(x)), code, *map(str, out)])
    return Snippet(f"x = {x}\nprint({code})", str(out), trace)


def chain(rng: random.Random, top: int) -> Snippet:
    """One variable depends on another."""
    a, add = rng.randint(1, 9), rng.randint(1, 9)
    b = a + add
    return Snippet(f"a = {a}\nb = a + {add}\nprint(a + b)", str(a + b), f"b={b} {a}+{b}={a + b}")


FAMILIES: tuple[Callable[[random.Random, int], Snippet], ...] = (
    add_loop, list_loop, countdown, index, length, extreme, branch, repeat,
    shout, backwards, lookup, swap, append, cut, chain,
)  # fmt: skip
