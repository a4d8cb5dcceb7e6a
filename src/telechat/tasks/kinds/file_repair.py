"""A small Python file with one bug: read it, edit it, test it, say what was done."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from telechat.core.types import Rule, Task, ToolCall
from telechat.tasks.answers import has, plain
from telechat.tasks.base import Draft, MultiTurnKind, Step, World, ask, played
from telechat.tasks.coding import call_tests, definition_problem, same, test_rules
from telechat.tasks.functions import draw_function

FILES = ("a.py", "b.py", "main.py", "tool.py", "code.py")
FILES_TRANSFER = ("x.py", "work.py")
WORDINGS = ("Fix {file} so that f(x) {en}.", "In {file}, f(x) is wrong. Make sure it {en}.", "改好{file},让f(x){zh}")
TRANSFER = ("There is a bug in {file}. The right f(x) {en}.", "Repair {file}: f(x) {en}.", "{file}不对,f(x)要{zh}")
MAX_FILE = 1000
SHOWN_TESTS = 3
_DONE = re.compile(r"\b(?:fixed|changed|repaired|corrected|replaced|now)\b|改|修", re.IGNORECASE)


def _schema(name: str, description: str, *parameters: str) -> dict[str, Any]:
    properties = {parameter: {"type": "string"} for parameter in parameters}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = [
    _schema("read", "Read a file", "path"),
    _schema("edit", "Replace text in a file", "path", "old", "new"),
    _schema("test", "Run the tests"),
]


class Folder(World):
    """One file, and tests that nobody can edit. `right` is a file known to pass, which saves running it again."""

    def __init__(self, tools: Sequence[dict], check: dict[str, Any]) -> None:
        super().__init__(tools)
        self.file, self.text = check["file"], check["text"]
        self.arguments, self.wants, self.right = check["arguments"], check["wants"], check["right"]

    def tool_read(self, path: str) -> str:
        """The file's text."""
        return self.text if path == self.file else f"error: no file {path[:40]}"

    def tool_edit(self, path: str, old: str, new: str) -> str:
        """Replace the only occurrence of `old`."""
        if path != self.file:
            return f"error: no file {path[:40]}"
        found = self.text.count(old) if old else 0
        if found != 1:
            return f"error: old text found {found} times"
        text = self.text.replace(old, new)
        if len(text) > MAX_FILE:
            return "error: the file gets too long"
        self.text = text
        return "ok"

    def tool_test(self) -> str:
        """`pass`, or the first failing one of some tests."""
        if self.text == self.right:
            return "pass"
        problem = definition_problem(self.text)
        if problem:
            return f"fail: {problem}"
        arguments = self.arguments[:SHOWN_TESTS]
        for argument, want, result in zip(arguments, self.wants, call_tests(self.text, arguments), strict=False):
            if result.status != "ok" or not same(result.value, want):
                got = repr(result.value) if result.status == "ok" else result.error
                return f"fail: f({argument!r}) gave {got[:80]}, want {want!r}"
        return "pass"


class FileRepair(MultiTurnKind):
    """Read, think, edit, test, report; or without the test; or without thinking."""

    name = "file_repair"
    group = "agent"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """A function with a wrong operation or a wrong constant, in two or three lines."""
        drawn = draw_function(rng, range(10, 20) if transfer else None)
        family, constant = drawn.family, drawn.constant
        wrong, right = drawn.fill(family.wrong), drawn.fill(family.code)
        if "{c}" in family.code and isinstance(constant, int) and constant > 2 and rng.random() < 0.3:
            wrong = family.code.replace("{c}", str(constant - 1))
        shape = rng.choice(("def f(x):\n    return {}", "def f(x):\n    y = {}\n    return y"))
        file = rng.choice(FILES_TRANSFER if transfer else FILES)
        wording = rng.choice(TRANSFER if transfer else WORDINGS)
        text = wording.format(file=file, en=drawn.fill(family.en), zh=drawn.fill(family.zh))
        check = {
            "file": file,
            "text": shape.format(wrong),
            "right": shape.format(right),
            "arguments": drawn.arguments,
            "wants": drawn.wants,
        }
        difficulty = 0.3 + len(right) / 60 + 0.1 * ("y =" in shape)
        return Draft(ask(text), _paths(check, wrong, right), check, TOOLS, difficulty=difficulty)

    def world(self, task: Task) -> World:
        """The folder as it was."""
        return Folder(task.tools, task.check)

    def judge(self, task: Task, world: World, steps: Sequence[Step], final: str) -> list[Rule]:
        """The file passes all hidden tests, and the answer says which file was mended."""
        assert isinstance(world, Folder)
        said = plain(final)
        told = has(said, task.check["file"]) and _DONE.search(said) is not None and len(said) <= 300
        rules = [Rule("report", told, said[:80]), Rule("edited", world.text != task.check["text"])]
        if not all(rule.passed for rule in rules):
            return rules
        if world.text == task.check["right"]:
            return [*rules, Rule("tests", True, "the known right text")]
        return [*rules, *test_rules(world.text, task.check["arguments"], task.check["wants"])]


def _paths(check: dict[str, Any], wrong: str, right: str) -> list:
    file = check["file"]
    read, test = ToolCall("read", {"path": file}), ToolCall("test")
    edit = ToolCall("edit", {"path": file, "old": wrong, "new": right})
    final = f"Fixed {file}: {right}"
    thought = [(f"read {file}", [read]), (f"{wrong} should be {right}", [edit]), ("test", [test])]
    return [
        played(Folder(TOOLS, check), thought, final, "pass"),
        played(Folder(TOOLS, check), thought[:2], final),
        played(Folder(TOOLS, check), [(None, calls) for _, calls in thought], final),
    ]
