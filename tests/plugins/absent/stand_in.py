"""Packages of GPU kernels that SGLang imports and that a machine without a GPU has no use for.

Each name of theirs is a mock, so that SGLang can be imported; on the CPU it computes with torch.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any
from unittest.mock import MagicMock


class Mocked(types.ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{self.__name__}.{name}")


class Submodules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every submodule of a package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.startswith(f"{self.package}.") else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return Mocked(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def stand_in(name: str) -> None:
    """Make the module `name`, which is being imported, one that has every name and every submodule."""
    sys.modules[name].__class__ = Mocked
    sys.meta_path.append(Submodules(name))
