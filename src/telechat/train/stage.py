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
from telechat.core.recipe import Learning, Recipe
from telechat.core.types import RolloutParams, Task, Trajectory
from telechat.models.loading import load_tokenizer, training_device
from telechat.train.objective import Loss
from telechat.train.state import save_model
from telechat.train.trainer import Source, Trainer


class Rollouts(Protocol):
    """Acts with a model on tasks: the embedded engine in this process, or a server that receives the weights."""

    def refresh(self) -> None:
        """Take the model's present weights."""
        ...

    def __call__(
        self,
        tasks: Sequence[Task],
        samples: int | Sequence[int],
        params: RolloutParams,
        hints: Sequence[Sequence[int]] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Trajectory]]:
        """`samples` judged attempts at each task, or `samples[i]` at task i; `progress` is told how many of a turn's
        prompts are answered."""
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
        """The newest language model, where it is trained."""
        return AutoModelForCausalLM.from_pretrained(self.previous).to(training_device())

    def train(
        self,
        model: Any,
        loss: Loss,
        source: Source,
        config: Learning,
        *,
        steps: int | None = None,
        after_step: Callable[[int, nn.Module], None] | None = None,
    ) -> int:
        """Run the training loop of a stage to its end, from where it was, and save the model; returns the tokens seen.

        `steps` replaces the stage's own number.
        """
        trainer = Trainer(
            model,
            loss,
            source,
            config.optimizer,
            self.folder,
            config.steps if steps is None else steps,
            name=config.name,
            progress=self.progress,
            save_every=config.save_every,
            after_step=after_step,
        )
        trainer.run()
        save_model(model, self.tokenizer(), self.folder / "model")
        return trainer.tokens


@dataclass
class StageResult:
    """What a stage leaves: figures for the report; its model is in `folder/model`."""

    metrics: dict[str, Any]
