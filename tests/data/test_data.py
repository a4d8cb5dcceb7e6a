"""Corpora, mixtures and selection are functions of their arguments and keep their shares."""

from __future__ import annotations

import ast
import itertools

import pytest

from telechat.core.errors import UserError
from telechat.data.corpora import documents, kinds_of, stdlib_digest
from telechat.data.mixture import BEGINS, WRITTEN, describe, fill
from telechat.data.select import pass_rates, select, signature
from telechat.tasks.registry import generate

KINDS = ("addition", "code", "call_single", "tool_lookup")


def take(source: str, part: str, count: int = 60) -> list:
    return list(itertools.islice(documents(source, part, 1, KINDS), count))


def test_the_code_corpus_compiles_and_is_repeatable():
    found = take("stdlib.code", "train")
    for document in found:
        ast.parse(document.text)
    assert [d.text for d in found] == [d.text for d in take("stdlib.code", "train")]
    assert len(stdlib_digest()) == 16


@pytest.mark.parametrize("source", ["stdlib.code", "stdlib.docs", "text.math", "chat.tools", "chat.addition"])
def test_train_and_heldout_documents_are_disjoint(source):
    def key(document):
        return document.text or "".join(m.content or "" for m in document.task.messages) + str(document.task.tools)

    assert not {key(d) for d in take(source, "train")} & {key(d) for d in take(source, "heldout")}


@pytest.mark.parametrize("source", ["nonsense", "chat.poetry", "text."])
def test_an_unknown_source_is_named(source):
    with pytest.raises(UserError, match="source"):
        take(source, "train", 1)


def test_groups_name_the_recipes_kinds():
    assert kinds_of("chat.math", KINDS) == ["addition"]
    assert kinds_of("text.code", KINDS) == ["code"]
    assert kinds_of("chat.agent", KINDS) == ["tool_lookup"]


def test_a_mixture_keeps_its_shares_in_every_stretch():
    mixture = {"stdlib.code": 3.0, "text.math": 1.0}
    ids, marks, rows = fill(mixture, 20_000, "train", 0, KINDS, lambda d: ([1] * len(d.text), [0] * len(d.text)))
    assert [m & WRITTEN for m in marks] == [0] * len(ids)
    assert sum(m == BEGINS for m in marks) == len(rows)
    assert len(ids) >= 20_000
    for part in (rows[: len(rows) // 2], rows):
        code = sum(r["tokens"] for r in part if r["source"] == "stdlib.code")
        assert code / sum(r["tokens"] for r in part) == pytest.approx(0.75, abs=0.08)
    facts = describe(rows)
    assert facts["quality"] == 1.0
    assert facts["tokens"] == len(ids)


def test_difficulty_ranks_prose_code_tasks_and_agents():
    means = {}
    for source in ("stdlib.docs", "stdlib.code", "text.math", "chat.agent"):
        found = [d.difficulty() for d in take(source, "train", 40)]
        means[source] = sum(found) / len(found)
    assert means["stdlib.docs"] < means["stdlib.code"] < means["text.math"] < means["chat.agent"]


def test_selection_prefers_what_is_seldom_solved_and_spreads_over_wordings():
    pool = [generate("addition", "train", 3, i) for i in range(200)]
    groups = sorted({signature(t) for t in pool})
    assert len(groups) >= 3
    rates = pass_rates([(groups[0], True)] * 20 + [(g, False) for g in groups[1:] for _ in range(20)])
    assert rates[groups[0]] > 0.8 > 0.3 > rates[groups[1]]
    chosen = select(pool, rates, 0.2)
    assert len(chosen) == 40
    counts = [sum(signature(t) == g for t in chosen) for g in groups]
    assert max(counts) - min(counts) <= 1 or min(counts) == sum(signature(t) == groups[counts.index(min(counts))] for t in pool)
    assert signature(chosen[0]) != groups[0]


def test_selection_drops_repeated_problems():
    task = generate("addition", "train", 3, 0)
    assert select([task] * 10, {}, 1.0) == [task]
