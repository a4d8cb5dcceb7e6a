"""Where pretraining text comes from: named sources of documents, each with a train and a held-out part.

`stdlib.code`, `stdlib.docs`: the running interpreter's standard library and its docstrings.
`knowledge`: sentences that state the knowledge points.
`text.GROUP`: tasks of a group (math, code, tools, general, agent) as plain text: question, worked steps, answer.
`chat.GROUP`: the same as conversations in the model's chat format.
A group may be replaced by the name of one task kind (`chat.addition`).
"""

from __future__ import annotations

import ast
import functools
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from telechat.core.errors import UserError
from telechat.core.files import digest
from telechat.core.seeds import rng, seed_of, shuffled
from telechat.core.types import Message, Task
from telechat.tasks.facts import statements
from telechat.tasks.registry import generate, get_kind

_SKIPPED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "ensurepip", "turtledemo", "__pycache__", "config"}
FIXED_SOURCES = ("stdlib.code", "stdlib.docs", "knowledge")
OTHER_PATHS = 0.15
"""Share of the task documents that do not follow the most reliable path of their task."""


@dataclass(frozen=True)
class Document:
    """A piece of text, or a task to be rendered as a conversation along one of its solution paths.

    `certified` says that a program has checked it: code that compiles, a task whose verifier accepts the answer, a
    sentence made from the fact table.
    """

    source: str
    text: str = ""
    task: Task | None = None
    path: tuple[Message, ...] = ()
    certified: bool = False

    def difficulty(self) -> float:
        """How much has to be worked out to predict this document; comparable between sources.

        A task counts 1, plus its generator's difficulty (carries, steps, tools offered), plus 1 for every further
        turn with a tool. Code counts the nesting depth of its syntax tree ÷ 20 (at most 1), other text 0.25.
        """
        if self.task is not None:
            return 1.0 + self.task.difficulty + sum(m.role == "assistant" for m in self.path[1:])
        return min(1.0, _depth(self.text) / 20) if self.source == "stdlib.code" else 0.25


def _depth(code: str) -> int:
    """Nesting depth of the syntax tree of `code`; 0 when it does not parse."""
    try:
        level: list[ast.AST] = [ast.parse(code)]
    except SyntaxError:
        return 0
    depth = 0
    while level := [child for node in level for child in ast.iter_child_nodes(node)]:
        depth += 1
    return depth


def _part(text: str) -> str:
    """The part that owns a text, by the text alone: what stands twice in the library stands in one part."""
    return "heldout" if seed_of("document", text) % 20 == 0 else "train"


@functools.cache
def stdlib_files() -> tuple[tuple[str, str], ...]:
    """(relative name, text) of every module of the standard library, in the order of the names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if _SKIPPED.intersection(relative.parts) or path.stat().st_size > 200_000:
            continue
        try:
            found.append((relative.as_posix(), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return tuple(found)


def stdlib_digest() -> str:
    """Identifies this interpreter's standard library; it differs between Python versions."""
    return digest(stdlib_files())


@functools.cache
def _stdlib_texts() -> dict[str, tuple[str, ...]]:
    """`stdlib.code`: top-level functions and classes, each a document that compiles by itself; `stdlib.docs`: docstrings."""
    definitions = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    code: list[str] = []
    docs: list[str] = []
    for _, text in stdlib_files():
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        lines = text.splitlines()
        code += ["\n".join(lines[n.lineno - 1 : n.end_lineno]) for n in tree.body if isinstance(n, definitions)]
        nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.FunctionDef, ast.ClassDef))]
        docs += [d for n in nodes if (d := ast.get_docstring(n))]
    return {
        "stdlib.code": tuple(s for s in code if 80 <= len(s) <= 2500),
        "stdlib.docs": tuple(s for s in docs if 40 <= len(s) <= 1500),
    }


@functools.cache
def _texts(source: str, part: str) -> tuple[str, ...]:
    """The texts of a fixed source that belong to `part`. Of the knowledge points single sentences are held out."""
    texts = statements() if source == "knowledge" else _stdlib_texts()[source]
    return tuple(text for text in texts if _part(text) == part)


def kinds_of(source: str, kinds: tuple[str, ...]) -> list[str]:
    """The task kinds behind `text.X` or `chat.X`; `UserError` when the recipe has none."""
    group = source.partition(".")[2]
    found = [k for k in kinds if k == group or get_kind(k).group == group]
    if not found:
        raise UserError(f"mixture source {source!r}: no kind or group {group!r} among the recipe's kinds")
    return found


def refuse_unknown_source(source: str, kinds: tuple[str, ...]) -> None:
    """`UserError` when there are no documents of `source` in a recipe of `kinds`."""
    if source in FIXED_SOURCES:
        return
    if source.partition(".")[0] not in ("text", "chat"):
        fixed = ", ".join(FIXED_SOURCES)
        raise UserError(f"unknown mixture source {source!r}; use {fixed}, text.GROUP or chat.GROUP")
    kinds_of(source, kinds)


def plain_text(task: Task, path: tuple[Message, ...]) -> str:
    """A task as text without chat format: the question, what was thought, what was answered."""
    parts = [m.content or "" for m in task.messages]
    for message in path:
        parts += [message.reasoning_content or "", message.content or ""]
        parts += [f"{c.name}({', '.join(f'{k}={v}' for k, v in c.arguments.items())})" for c in message.tool_calls]
    return "\n".join(p for p in parts if p)


def documents(source: str, part: str, seed: int, kinds: tuple[str, ...]) -> Iterator[Document]:
    """An endless stream of documents of `source` for `part` ("train" or "heldout"); a function of its arguments."""
    if source in FIXED_SOURCES:
        texts = _texts(source, part)
        certified = source != "stdlib.docs"
        for epoch in range(1 << 30):
            for text in shuffled(list(texts), source, seed, epoch):
                yield Document(source, text, certified=certified)
    refuse_unknown_source(source, kinds)
    room = source.partition(".")[0]
    names = kinds_of(source, kinds)
    for index in range(1 << 30):
        task = generate(names[index % len(names)], part, seed, index)
        draw = rng("path", source, seed, index)
        path = draw.choice(task.paths[1:] or task.paths) if draw.random() < OTHER_PATHS else task.paths[0]
        text = plain_text(task, path) if room == "text" else ""
        yield Document(source, text, task, path, certified=True)
