"""Code of one's own, named as `module:function` in a recipe or on the command line."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Any

from telechat.core.errors import UserError, one_line


def code_beside(recipe: str | None = None) -> None:
    """Let `module:function` be found in the working directory and beside a recipe file, after everything installed."""
    folders = []
    with contextlib.suppress(FileNotFoundError):  # it may have been removed
        folders.append(os.getcwd())
    if recipe is not None and os.path.isfile(recipe):
        folders.append(os.path.dirname(os.path.abspath(recipe)))
    sys.path += [folder for folder in folders if folder not in sys.path]


def named(name: str, what: str) -> Any:
    """What `module:function` names. Raises `UserError`, which begins with `what`, whatever the module does instead."""
    module, separator, function = name.partition(":")
    if not separator:
        raise UserError(f"{what}: write module:function")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except (Exception, SystemExit) as error:
        raise UserError(f"{what}: cannot import {module!r}: {type(error).__name__}: {one_line(error)}") from None
    if found is None:
        raise UserError(f"{what}: {module} has no {function!r}")
    return found


def own_reward(name: str) -> Any:
    """The function behind `module:function`: (task, trajectory) → number."""
    found = named(name, f"reward {name!r}")
    if not callable(found):
        raise UserError(f"reward {name!r}: it is a {type(found).__name__}, not a function of (task, trajectory)")
    return found
