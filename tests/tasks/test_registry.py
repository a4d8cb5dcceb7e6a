"""Names of kinds: ours, yours, and mistyped ones."""

from __future__ import annotations

import random

import pytest

from telechat.core.errors import UserError
from telechat.core.types import Message, Task, Verdict
from telechat.tasks.answers import judged, number_rule
from telechat.tasks.base import Draft, Kind, answer, ask
from telechat.tasks.registry import KINDS, bucket, generate, get_kind, verify


class Doubling(Kind):
    name = "doubling"
    group = "math"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        n = rng.randint(100, 999)
        return Draft(ask(f"Double {n}{'!' if transfer else '.'}"), [answer(str(2 * n))], {"answer": 2 * n})

    def verify(self, task: Task, message: Message) -> Verdict:
        return judged(message, number_rule(message.content, task.check["answer"]))


class Stubborn(Doubling):
    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        return Draft(ask("Always the same."), [answer("1")], {"answer": 1})


def make() -> Kind:
    return Doubling()


def fails() -> Kind:
    raise ZeroDivisionError("of my own")


def not_a_kind() -> int:
    return 1


def test_there_are_enough_kinds_and_names_agree() -> None:
    assert len(KINDS) >= 12
    for name in KINDS:
        assert get_kind(name).name == name
        assert get_kind(name).group in ("math", "code", "tools", "general", "agent")


def test_a_kind_of_ones_own_works_by_its_place() -> None:
    task = generate(f"{__name__}:make", "heldout", 0, 0)
    assert task.kind == f"{__name__}:make"
    assert verify(task, task.gold).passed
    assert not verify(task, Message("assistant", "1")).passed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adition", "did you mean addition"),
        ("Code", "did you mean code"),
        ("", "choose one of"),
        ("no.such.module:f", "cannot import"),
        (f"{__name__}:absent", "has no 'absent'"),
        (f"{__name__}:not_a_kind", "must return"),
        (":f", "cannot import"),
        (f"{__name__}:fails", "fails fails: ZeroDivisionError"),
        ("json:loads", "loads fails: TypeError"),
        ("math:pi", "pi fails: TypeError"),
        (".foo:bar", "cannot import"),
        ("sys:exit", "exit fails: SystemExit"),
    ],
)
def test_unknown_kinds_are_user_errors(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        get_kind(name)


def test_unknown_splits_and_hopeless_kinds_are_user_errors() -> None:
    with pytest.raises(UserError, match="did you mean heldout"):
        generate("addition", "held-out", 0, 0)
    with pytest.raises(UserError, match="needs more variety"):
        generate(f"{__name__}:Stubborn", "dev" if bucket("alwaysthesame.") != "dev" else "train", 0, 0)
