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

_AUTO = "transformers.models.auto."
NEEDED_BY = {
    f"{_AUTO}configuration_auto": "telechat.models.configuration",
    f"{_AUTO}tokenization_auto": "telechat.models.tokenization",
    f"{_AUTO}modeling_auto": None,
}
"""Auto module of transformers: our module that registers itself with its classes when it is imported."""

MODELS = ("telechat.models.telechat2", "telechat.models.telechat3")
"""They register themselves, too. The first configuration of the family brings them: nobody can ask for a model without
one, and the Auto classes of models are imported in the middle of those models that ours are made from."""


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
        if not any(name != module.__name__ and _half_imported(name) for name in NEEDED_BY):
            _register()


class _Watcher(MetaPathFinder):
    """Finds the Auto modules as usual, and hands them to `_Watched`."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of an Auto module; None for everything else."""
        if fullname not in NEEDED_BY:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Watched(spec.loader)
        return spec


def _half_imported(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _register() -> None:
    """Register with the Auto modules that are there."""
    for auto, ours in NEEDED_BY.items():
        # One of ours that is being imported, and brought us here, registers itself at its end.
        if auto in sys.modules and ours is not None and ours not in sys.modules:
            importlib.import_module(ours)


def register_models() -> None:
    """Make the Auto classes of models know the family; may be called any number of times."""
    for name in MODELS:
        if name not in sys.modules:
            importlib.import_module(name)


def register_when_needed() -> None:
    """Register with the Auto modules that are in use already, and with the others when they are first imported."""
    _register()
    if not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())
