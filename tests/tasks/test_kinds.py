"""Every task kind keeps the same promises: right answers pass, everything else does not, splits are apart."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telechat.core.types import SPLITS, Message, Task, ToolCall, Verdict
from telechat.tasks.registry import KINDS, bucket, canonical_text, generate, get_kind, verify

ALL = list(KINDS)
MULTI_TURN = [name for name in ALL if get_kind(name).multi_turn]


@functools.cache
def tasks(kind: str, split: str, count: int, seed: int = 0) -> list[Task]:
    return [generate(kind, split, seed, index) for index in range(count)]


def text_answer(task: Task, text: str) -> Verdict:
    return verify(task, Message("assistant", text))


def final_text(task: Task) -> str:
    return task.gold[-1].content or json.dumps([[call.name, call.arguments] for call in task.gold[-1].tool_calls])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", ALL)
def test_every_path_is_right_and_the_gold_one_thinks(kind: str, split: str) -> None:
    for task in tasks(kind, split, 40):
        assert len(task.paths) >= 2
        assert task.gold[0].reasoning_content
        assert any(path[0].reasoning_content is None for path in task.paths), "a direct answer is among the paths"
        for path in task.paths:
            verdict = verify(task, path)
            assert verdict.passed, (task.messages, path, verdict)
            assert verdict.score == 1.0


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", ALL)
def test_silence_echo_and_enumeration_fail(kind: str, split: str) -> None:
    many = tasks(kind, split, 40)
    answers = list(dict.fromkeys(final_text(task) for task in many))
    enumerations = [mark.join(answers) for mark in (" ", "\n", ", ")] + ["\n".join(answers[:4]), " ".join(answers[:3])]
    numbers = " ".join(str(n) for n in range(1000))
    for task in many[:20]:
        prompt = task.messages[-1].content or ""
        for text in ("", " \n", prompt, prompt + "\n" + prompt, *enumerations, numbers, "ok", "I don't know.", "不知道"):
            assert not text_answer(task, text).passed, (prompt, text)
        assert not verify(task, []).passed
        assert not verify(task, [Message("user", prompt)]).passed
        assert not verify(task, Message("assistant", None, task.gold[-1].content or "think")).passed, "thinking is no answer"
        assert not verify(task, Message("user", final_text(task))).passed


@pytest.mark.parametrize("kind", ALL)
def test_another_tasks_answer_fails(kind: str) -> None:
    many = tasks(kind, "heldout", 40)
    passed = 0
    for index, task in enumerate(many):
        for other in many[index + 1 : index + 11]:
            passed += verify(task, other.gold).passed and canonical_text(task) != canonical_text(other)
    assert passed <= 0.05 * 10 * len(many), f"{passed} answers are right for another task"


@pytest.mark.parametrize("kind", ALL)
def test_an_answer_of_another_kind_fails(kind: str) -> None:
    for task in tasks(kind, "heldout", 3):
        for other in ALL:
            if other != kind and get_kind(other).group != get_kind(kind).group:
                assert not verify(task, tasks(other, "heldout", 1)[0].gold).passed, (kind, other)


@pytest.mark.parametrize("kind", ALL)
def test_needless_calls_fail_and_so_do_doubled_answers(kind: str) -> None:
    call = ToolCall("unheard_of", {"x": 1})
    for task in tasks(kind, "heldout", 10):
        last = task.gold[-1]
        if not get_kind(kind).multi_turn:
            assert not verify(task, Message("assistant", last.content, None, (*last.tool_calls, call))).passed
        assert not verify(task, [*task.gold, *task.gold]).passed


@pytest.mark.parametrize("kind", ALL)
def test_there_is_variety(kind: str) -> None:
    for split, least in (("train", 150), ("heldout", 100), ("transfer", 100)):
        texts = {canonical_text(task) for task in tasks(kind, split, 300)}
        assert len(texts) >= least, f"{len(texts)} distinct {split} tasks in 300 draws"


@pytest.mark.parametrize("kind", ALL)
def test_splits_have_no_text_in_common(kind: str) -> None:
    texts = {split: {canonical_text(task) for task in tasks(kind, split, 300)} for split in SPLITS}
    for split in SPLITS[:3]:
        assert {bucket(text) for text in texts[split]} == {split}
        assert not texts[split] & texts["transfer"]


@pytest.mark.parametrize("kind", ALL)
def test_prompts_and_answers_are_short(kind: str) -> None:
    for split in ("train", "transfer"):
        for task in tasks(kind, split, 100):
            assert len(task.messages) == 1
            assert len(task.messages[0].content or "") <= 190
            assert len(task.tools) <= 3
            assert all(len(json.dumps(tool)) <= 260 for tool in task.tools)
            for message in task.gold:
                assert len(message.reasoning_content or "") <= 80
                assert len(message.content or "") <= 80
            assert 0 <= task.difficulty <= 1


@pytest.mark.parametrize("kind", ALL)
def test_tasks_are_json_and_hide_what_checks_them(kind: str) -> None:
    for task in tasks(kind, "dev", 10):
        shown = json.loads(json.dumps(task.to_dict(gold=True)))
        assert shown["id"] == f"{kind}/dev/0/{task.index}"
        assert "check" not in shown
        assert json.loads(json.dumps(task.check)) == task.check
        assert [Message.from_dict(message).content for message in shown["gold"]] == [m.content for m in task.gold]
        stored = Task(**{**task.__dict__, "check": json.loads(json.dumps(task.check))})
        assert verify(stored, task.gold).passed


def test_tasks_are_the_same_in_every_process() -> None:
    code = (
        "import hashlib\n"
        "from telechat.tasks.registry import KINDS, generate\n"
        "tasks = [generate(k, s, 5, i) for k in KINDS for s in ('train', 'dev', 'heldout', 'transfer') for i in range(4)]\n"
        "print(hashlib.sha256(repr(tasks).encode()).hexdigest())"
    )
    seen = set()
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        seen.add(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        )
    assert len(seen) == 1


def test_seeds_indices_and_splits_matter() -> None:
    texts = {generate("addition", split, seed, index).messages for split in SPLITS for seed in (0, 1) for index in range(3)}
    assert len(texts) == 24


def test_no_torch_is_needed() -> None:
    code = (
        "import sys\nfrom telechat.tasks.registry import KINDS, generate, verify\nimport telechat.cli.tasks\n"
        "for k in KINDS:\n    t = generate(k, 'dev', 0, 0)\n    assert verify(t, t.gold).passed\n    verify(t, 'x</think>1')\n"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
PIECES = st.sampled_from(
    ["```", "```python\n", "def f(x):\n    return x", "{", '"', "=", "12", "no tool", "can't help", "\n", "1. ", "猫"]
)
TEXTS = st.text(max_size=60) | st.lists(PIECES | st.text(max_size=6), max_size=8).map("".join)


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_verifiers_never_raise(kind: str, data: st.DataObject) -> None:
    task = data.draw(st.sampled_from(tasks(kind, "dev", 10)))
    names = st.sampled_from([tool["function"]["name"] for tool in task.tools] or ["x"]) | st.text(max_size=10)
    keys = st.sampled_from(["a", "b", "path", "old", "new", "item", "city"]) | st.text(max_size=5)
    calls = st.lists(st.builds(ToolCall, names, st.dictionaries(keys, JSON_VALUES, max_size=3)), max_size=3).map(tuple)
    messages = st.builds(Message, st.just("assistant"), st.none() | TEXTS, st.none() | TEXTS, calls)
    verdict = verify(task, data.draw(messages))
    assert verdict.passed == (verdict.score == 1.0)
    json.dumps(verdict.to_dict())
    trajectory = [*data.draw(st.lists(messages, max_size=3)), Message("assistant", data.draw(TEXTS))]
    json.dumps(verify(task, trajectory).to_dict())


@pytest.mark.parametrize("kind", ALL)
def test_absurd_answers_are_judged_quickly(kind: str) -> None:
    task = tasks(kind, "dev", 1)[0]
    for piece in ("can't ", "9", "```x\n", "(", "[", "no tool ", "=", "不能", "-", "\ud800"):
        assert not text_answer(task, piece * 100_000).passed
        assert not text_answer(task, piece * 300).passed
