"""What a recipe names must be there before anything is trained: hours later is too late to hear of a typing error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from telechat.core.errors import UserError
from telechat.core.files import file_digest
from telechat.core.own import own_reward
from telechat.core.recipe import (
    AgenticRlStage,
    AgentSftStage,
    PretrainStage,
    Recipe,
    RlStage,
    SftStage,
    Stage,
    TokenizerStage,
)
from telechat.core.types import SPLITS, Task
from telechat.data.corpora import refuse_unknown_source
from telechat.tasks.registry import generate, get_kind, verify


def refuse_what_cannot_run(recipe: Recipe, out: Path | None = None, until: str | None = None) -> None:
    """`UserError` for the first thing that would stop `recipe` on its way in the folder `out`: kinds, sources and
    rewards that are not there, stages before those whose work they need."""
    names = [s.name for s in recipe.stages]
    if until is not None and until not in names:
        raise UserError(f"--until {until}: no such stage; there are: {', '.join(names)}")
    if out is not None:
        there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        if not there.is_dir():
            raise UserError(f"{there}: is a file; give a folder for --out")
        if not os.access(there, os.W_OK | os.X_OK):
            raise UserError(f"{there}: cannot be written in; give another folder for --out")
    for kind in recipe.kinds:
        get_kind(kind)
        for split in SPLITS if ":" in kind else ():
            _try_out(generate(kind, split, recipe.seed, 0))  # with few texts there may be none for some split
    for number, stage in enumerate(recipe.stages):
        try:
            _names(recipe, stage)
            _order(recipe, number, stage)
        except UserError as error:
            raise UserError(f"stage {stage.name!r}: {error}") from None


def _try_out(task: Task) -> None:
    """A kind of one's own must accept its own answer and refuse silence."""
    if not verify(task, task.gold).passed:
        raise UserError(f"task kind {task.kind!r}: its verifier refuses the first path of {task.id}")
    if verify(task, "").passed:
        raise UserError(f"task kind {task.kind!r}: its verifier accepts an empty answer to {task.id}")


def _names(recipe: Recipe, stage: Stage) -> None:
    for key in ("kinds", "weights", "replay_shares"):
        for kind in getattr(stage, key, ()):
            get_kind(kind)
    if isinstance(stage, PretrainStage):
        for source in stage.mixture:
            refuse_unknown_source(source, tuple(recipe.kinds))
    if isinstance(stage, (RlStage, AgenticRlStage)):
        for name in stage.reward.own:
            own_reward(name)


def _order(recipe: Recipe, number: int, stage: Stage) -> None:
    before = recipe.stages[:number]
    if isinstance(stage, TokenizerStage) != (number == 0):
        raise UserError("a recipe begins with its one tokenizer stage")
    if number == 1 and not isinstance(stage, PretrainStage):
        raise UserError("there is no model to go on with; put a pretrain stage right after the tokenizer")
    if number + 1 == len(recipe.stages) == 1:
        raise UserError("a tokenizer alone is no model; add a pretrain stage")
    own_problems = [s.name for s in before if isinstance(s, SftStage) and not s.data_from]
    if isinstance(stage, SftStage) and stage.data_from and stage.data_from not in own_problems:
        raise UserError(f"data_from: {stage.data_from!r} is no sft stage before this one that chooses its own problems")
    if (
        isinstance(stage, (RlStage, AgenticRlStage))
        and stage.reward.model
        and not any(s.kind == "reward_model" for s in before)
    ):
        raise UserError("reward.model needs a reward_model stage before it")
    if isinstance(stage, (RlStage, AgentSftStage, AgenticRlStage)) and not stage.kinds:
        multi = not isinstance(stage, RlStage)
        if not any(get_kind(kind).multi_turn == multi for kind in recipe.kinds):
            raise UserError(
                f"none of the recipe's kinds has {'several turns' if multi else 'a single turn'}; name kinds for it"
            )


def own_code(recipe: Recipe) -> dict[str, str]:
    """The digest of every file that a kind or a reward of one's own (`module:function`) is written in; they have been
    imported before."""
    digests = {}
    for name in {name for stage in recipe.stages for name in own_names(recipe, stage)}:
        file = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
        if file is not None and Path(file).is_file():
            digests[name] = file_digest(file)
    return digests


def own_names(recipe: Recipe, stage: Stage) -> Iterator[str]:
    """The kinds and rewards of one's own that `stage` uses."""
    rewards = stage.reward.own if isinstance(stage, (RlStage, AgenticRlStage)) else ()
    yield from (name for name in (*recipe.kinds, *getattr(stage, "kinds", ()), *rewards) if ":" in name)
