"""`import telechat` makes transformers' Auto classes know the family, without importing transformers itself.

The commands that need no model must answer at once, so the registration waits until somebody imports the Auto classes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

AUTO = tuple(f"transformers.models.auto.{name}_auto" for name in ("configuration", "modeling", "tokenization"))

OURS = tuple(f"telechat.models.{name}" for name in ("telechat2", "telechat3", "tokenization"))


class _Watched(Loader):
    """A loader that registers the family once its module is there."""

    def __init__(self, inner: Loader) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the real loader."""
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the real loader; then register, unless another Auto module is only half there: its end comes later."""
        self.inner.exec_module(module)
        half = [name for name in AUTO if name != module.__name__ and _half_imported(name)]
        if not half:
            register()


class _Watcher(MetaPathFinder):
    """Finds the Auto modules as usual, and hands them to `_Watched`."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of an Auto module; None for everything else."""
        if fullname not in AUTO:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Watched(spec.loader)
        return spec


def _half_imported(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def register() -> None:
    """Import the modules that register themselves; may be called any number of times."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Watcher)]
    for name in OURS:
        if not _half_imported(name):  # one that is being imported, and brought us here, registers itself at its end
            importlib.import_module(name)


def register_when_needed() -> None:
    """Register now if the Auto classes are in use already, otherwise when they are first imported."""
    if any(name in sys.modules for name in AUTO):
        register()
    elif not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())
