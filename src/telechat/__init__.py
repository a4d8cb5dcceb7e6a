"""telechat: the whole life of the TeleChat2.5 and TeleChat3-Coder models, as one package.

import telechat
report = telechat.run("nano", out="runs/nano")
model = telechat.load("runs/nano")
print(model.chat("What is 345 + 678?").content)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telechat.models.auto import register_when_needed

if TYPE_CHECKING:
    from telechat.serve.offline import LLM, SamplingParams
    from telechat.serve.session import ChatModel

register_when_needed()

__version__ = "0.1.0"
__all__ = ["LLM", "SamplingParams", "load", "run"]


def __getattr__(name: str) -> Any:
    """`LLM` and `SamplingParams` are imported when they are first used: they need torch."""
    if name in ("LLM", "SamplingParams"):
        from telechat.serve import offline

        return getattr(offline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(model: str | Path) -> ChatModel:
    """A model to talk to, from a checkpoint folder, a finished run directory or a hub (`owner/name`,
    `modelscope:owner/name`; fetched when it is not there yet).

    Raises `telechat.core.errors.UserError` when the folder holds no checkpoint.
    """
    from telechat.serve.session import ChatModel

    return ChatModel.load(str(model))


def run(
    recipe: str | Path, out: str | Path, *, size: str | None = None, set: Sequence[str] = (), quiet: bool = False
) -> dict[str, Any]:
    """Run a recipe (a file or a built-in name) in the folder `out` and return its report; resumes by itself.

    `size` names one of the recipe's sizes ("smoke"), `set` holds `key=value` overrides. A finished run is not run
    again. Raises `telechat.core.errors.UserError` on a bad recipe.
    """
    from telechat.core.own import code_beside
    from telechat.core.progress import Progress
    from telechat.core.recipe_file import read_recipe
    from telechat.pipeline import run_recipe

    code_beside(str(recipe))
    return run_recipe(read_recipe(str(recipe), list(set), size), Path(out), progress=Progress(quiet=quiet))
