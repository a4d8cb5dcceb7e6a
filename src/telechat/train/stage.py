"""What every stage gets, and the few things that all of them do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from telechat.chat.formats import get_format
from telechat.chat.render import Renderer
from telechat.core.progress import Progress
from telechat.core.recipe import Recipe
from telechat.core.types import RolloutParams, Task, Trajectory
from telechat.models.loading import load_tokenizer


class Rollouts(Protocol):
    """Acts with a model on tasks: the embedded engine in this process, or a server that receives the weights."""

    def refresh(self) -> None:
        """Take the model's present weights."""
        ...

    def __call__(
        self, tasks: Sequence[Task], samples: int, params: RolloutParams, hints: Sequence[Sequence[int]] | None = None
    ) -> list[list[Trajectory]]:
        """`samples` judged attempts at each task."""
        ...


# (model, split, tasks of each kind, kinds) → {"mean": share, kind: share}
Score = Callable[[nn.Module, str, int, Sequence[str]], dict[str, float]]


@dataclass
class StageContext:
    """Everything a stage may use. `inputs` maps the names of finished stages to their model folders."""

    recipe: Recipe
    folder: Path
    seed: int
    progress: Progress
    inputs: dict[str, Path]
    stage_kinds: dict[str, str]
    rollouts: Callable[[nn.Module], Rollouts]
    score: Score

    @property
    def previous(self) -> Path:
        """The folder of the newest language model."""
        models = [folder for name, folder in self.inputs.items() if self.stage_kinds[name] != "reward_model"]
        return models[-1]

    def newest(self, kind: str) -> Path | None:
        """The model folder of the last finished stage of `kind`, or None."""
        found = [folder for name, folder in self.inputs.items() if self.stage_kinds[name] == kind]
        return found[-1] if found else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The recipe's task kinds."""
        return tuple(self.recipe.kinds)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The run's tokenizer."""
        return load_tokenizer(next(iter(self.inputs.values())))

    def renderer(self, tokenizer: PreTrainedTokenizerFast) -> Renderer:
        """The run's renderer."""
        return Renderer(tokenizer, get_format(self.recipe.chat_format))

    def model(self) -> Any:
        """The newest language model, in float32 where there is no accelerator."""
        return AutoModelForCausalLM.from_pretrained(self.previous)


@dataclass
class StageResult:
    """What a stage leaves: figures for the report; its model is in `folder/model`."""

    metrics: dict[str, Any]
