"""Verdicts on code: the hidden unit tests run in the sandbox, their values are compared here."""

from __future__ import annotations

import ast
import functools
import json
import warnings
from collections.abc import Sequence
from typing import Any

from telechat.core.types import Rule
from telechat.sandbox.worker import CallResult, run_calls


def same(got: Any, want: Any) -> bool:
    """Equal in value and in type, all the way down: True is not 1."""
    if type(got) is not type(want):
        return False
    if isinstance(want, list):
        return len(got) == len(want) and all(same(a, b) for a, b in zip(got, want, strict=True))
    if isinstance(want, dict):
        return got.keys() == want.keys() and all(same(got[key], want[key]) for key in want)
    return bool(got == want)


def call_tests(code: str, arguments: list[Any]) -> Sequence[CallResult]:
    """`f` on each argument, outside this process. The same code is run once: samples repeat each other, and a result
    depends on nothing else."""
    return _call_tests(code, json.dumps(arguments))


@functools.lru_cache(maxsize=4096)
def _call_tests(code: str, arguments: str) -> Sequence[CallResult]:
    return tuple(run_calls(code, [("f", [argument]) for argument in json.loads(arguments)]))


def test_rules(code: str | None, arguments: list[Any], wants: list[Any]) -> list[Rule]:
    """One definition of `f` that gives every wanted value."""
    problem = definition_problem(code)
    if code is None or problem:
        return [Rule("code", False, problem or "no code, or several blocks")]
    rules = [Rule("code", True)]
    for argument, want, result in zip(arguments, wants, call_tests(code, arguments), strict=True):
        got = result.value if result.status == "ok" else result.error
        rules.append(Rule("test", result.status == "ok" and same(result.value, want), f"f({argument!r}) gave {got!r}"[:120]))
    return rules


def definition_problem(code: str | None) -> str | None:
    """Why `code` is not a module that defines `f` exactly once; None when it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code or "")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"not Python: {error}"[:120]
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return None if names.count("f") == 1 else f"f is defined {names.count('f')} times"
