"""The task kinds by name, tasks by (kind, split, seed, index), and one verifier for all of them."""

from __future__ import annotations

import difflib
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

from telechat.core import seeds
from telechat.core.errors import UserError, one_line
from telechat.core.own import named
from telechat.core.types import SPLITS, Message, Rule, Task, Verdict
from telechat.tasks.base import Draft, Kind, MultiTurnKind

_ROOM = "telechat.tasks.kinds"
KINDS: dict[str, str] = {
    "addition": f"{_ROOM}.addition:Addition",
    "subtraction": f"{_ROOM}.subtraction:Subtraction",
    "multiplication": f"{_ROOM}.multiplication:Multiplication",
    "word_problem_en": f"{_ROOM}.word_problem_en:WordProblemEn",
    "word_problem_zh": f"{_ROOM}.word_problem_zh:WordProblemZh",
    "code": f"{_ROOM}.code:Code",
    "code_output": f"{_ROOM}.code_output:CodeOutput",
    "call_single": f"{_ROOM}.call_single:CallSingle",
    "call_multiple": f"{_ROOM}.call_multiple:CallMultiple",
    "call_parallel": f"{_ROOM}.call_parallel:CallParallel",
    "call_none": f"{_ROOM}.call_none:CallNone",
    "instruction": f"{_ROOM}.instruction:Instruction",
    "json_schema": f"{_ROOM}.json_schema:JsonSchema",
    "safety": f"{_ROOM}.safety:Safety",
    "knowledge": f"{_ROOM}.knowledge:Knowledge",
    "tool_calculator": f"{_ROOM}.tool_calculator:ToolCalculator",
    "tool_lookup": f"{_ROOM}.tool_lookup:ToolLookup",
    "file_repair": f"{_ROOM}.file_repair:FileRepair",
}
"""Name of a kind → `module:factory`. Nothing is imported until the kind is asked for."""

_ATTEMPTS = 2000


@functools.cache
def get_kind(name: str) -> Kind:
    """The kind called `name`, or what the function `module:function` returns."""
    target = KINDS.get(name, name)
    if ":" not in target:
        near = difflib.get_close_matches(name, KINDS, 1, 0.4)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(KINDS)}, or module:function"
        raise UserError(f"unknown task kind {name!r}: {hint}")
    factory = target.partition(":")[2]
    made = named(target, f"task kind {name!r}")
    try:
        kind = made()
    except (Exception, SystemExit) as error:
        raise UserError(f"task kind {name!r}: {factory} fails: {type(error).__name__}: {one_line(error)}") from None
    if not isinstance(kind, Kind):
        raise UserError(f"task kind {name!r}: {factory} must return a telechat.tasks.base.Kind, not {type(kind).__name__}")
    return kind


def canonical_text(draft: Draft | Task) -> str:
    """The text of messages and tools that decides the split: lower case, without white space."""
    parts = [message.content or "" for message in draft.messages]
    parts += [_words(tool) for tool in draft.tools]
    return "".join("\n".join(parts).lower().split())


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(_words(item) for item in value)
    return str(value)


def bucket(text: str) -> str:
    """The split that owns a canonical text: a tenth is dev, two tenths held-out, the rest train."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 10
    return "dev" if number == 0 else "heldout" if number <= 2 else "train"


def generate(kind: str, split: str, seed: int, index: int) -> Task:
    """Task number `index` of a split: a function of the arguments and nothing else.

    Train, dev and held-out share wordings and ranges and are disjoint in their text, because the text decides
    the split. `transfer` is drawn from wordings and ranges of its own.
    """
    if split not in SPLITS:
        near = difflib.get_close_matches(split, SPLITS, 1, 0.3)
        raise UserError(f"unknown split {split!r}: " + (f"did you mean {near[0]}?" if near else f"use {', '.join(SPLITS)}"))
    source = get_kind(kind)
    for attempt in range(_ATTEMPTS):
        draft = source.draw(seeds.rng(kind, split, seed, index, attempt), split == "transfer")
        if split == "transfer" or bucket(canonical_text(draft)) == split:
            break
    else:
        raise UserError(f"task kind {kind!r}: none of {_ATTEMPTS} draws belongs to {split}; it needs more variety")
    return Task(
        id=f"{kind}/{split}/{seed}/{index}",
        kind=kind,
        split=split,
        seed=seed,
        index=index,
        messages=tuple(draft.messages),
        tools=tuple(draft.tools),
        check=draft.check,
        paths=tuple(path for i, path in enumerate(draft.paths) if path not in draft.paths[:i]),
        difficulty=min(1.0, max(0.0, draft.difficulty)),
    )


def read_answer(task: Task, text: str) -> tuple[Message, bool]:
    """An assistant message from text in the telechat3-coder format, and whether the text ended too early.

    Text that holds `</think>` is what a model generated after its generation prompt; other text is content
    (with calls, if there are any).
    """
    from telechat.chat.formats import get_format
    from telechat.chat.parser import parse

    raw = text if "</think>" in text else "</think>" + text
    parsed = parse(get_format("telechat3-coder"), raw, list(task.tools))
    return parsed.message, parsed.truncated


def verify(task: Task, answer: Message | str | Sequence[Message]) -> Verdict:
    """The verdict on an answer: a message, its text, or (multi-turn kinds) all messages from the first turn on."""
    kind = get_kind(task.kind)
    if isinstance(answer, str):
        message, truncated = read_answer(task, answer)
        if truncated:
            return Verdict.of(Rule("complete", False, "the answer ends inside its thinking or inside a call"))
        answer = message
    messages = [answer] if isinstance(answer, Message) else list(answer)
    if isinstance(kind, MultiTurnKind):
        return kind.verify_trajectory(task, messages)
    turns = [message for message in messages if message.role == "assistant"]
    if len(turns) != 1:
        return Verdict.of(Rule("one answer", False, f"{len(turns)} assistant messages"))
    return kind.verify(task, turns[0])
