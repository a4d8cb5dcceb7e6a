"""What a recipe names must be there before anything is trained: hours later is too late to hear of a typing error."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from telechat.core.errors import UserError
from telechat.core.files import file_digest
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
from telechat.data.corpora import refuse_unknown_source
from telechat.tasks.registry import get_kind
from telechat.train.rewards import own_reward


def refuse_what_cannot_run(recipe: Recipe) -> None:
    """`UserError` for the first thing that would stop `recipe` on its way: kinds, sources and rewards that are not
    there, stages before those whose work they need."""
    for kind in recipe.kinds:
        get_kind(kind)
    for number, stage in enumerate(recipe.stages):
        try:
            _names(recipe, stage)
            _order(recipe, number, stage)
        except UserError as error:
            raise UserError(f"stage {stage.name!r}: {error}") from None


def _names(recipe: Recipe, stage: Stage) -> None:
    for key in ("kinds", "weights", "replay_shares"):
        for kind in getattr(stage, key, ()):
            get_kind(kind)
    if isinstance(stage, PretrainStage):
        for source in stage.mixture:
            refuse_unknown_source(source, tuple(recipe.kinds))
    if isinstance(stage, RlStage):
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
    if isinstance(stage, SftStage) and stage.data_from and stage.data_from not in [s.name for s in before if s.kind == "sft"]:
        raise UserError(f"data_from: {stage.data_from!r} is no sft stage before this one")
    if isinstance(stage, RlStage) and stage.reward.model and not any(s.kind == "reward_model" for s in before):
        raise UserError("reward.model needs a reward_model stage before it")
    if isinstance(stage, (RlStage, AgentSftStage, AgenticRlStage)) and not stage.kinds:
        multi = not isinstance(stage, RlStage)
        if not any(get_kind(kind).multi_turn == multi for kind in recipe.kinds):
            raise UserError(
                f"none of the recipe's kinds has {'several turns' if multi else 'a single turn'}; name kinds for it"
            )


def own_code(recipe: Recipe, stage: Stage) -> dict[str, str]:
    """The digest of every file that a kind or a reward of one's own (`module:function`) of a stage is written in."""
    digests = {}
    for name in _own_names(recipe, stage):
        spec = importlib.util.find_spec(name.partition(":")[0])
        if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
            digests[name] = file_digest(spec.origin)
    return digests


def _own_names(recipe: Recipe, stage: Stage) -> Iterator[str]:
    rewards = stage.reward.own if isinstance(stage, RlStage) else ()
    yield from (name for name in (*recipe.kinds, *getattr(stage, "kinds", ()), *rewards) if ":" in name)
