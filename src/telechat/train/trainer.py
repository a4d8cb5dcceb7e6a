"""The one training loop: batches from a source, a loss, an optimiser, exact resumption.

Stages differ in where their batches come from and in what they minimise; the loop is the same. All randomness is a
function of (seed, step), so the state is weights, optimiser, step and what the source itself remembers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from torch import nn

from telechat.core.files import write_text
from telechat.core.progress import Progress
from telechat.core.recipe import OptimizerConfig
from telechat.models.loading import training_device
from telechat.train.batches import Batch
from telechat.train.objective import Loss, Objective
from telechat.train.optimizer import build_optimizers, learning_rate
from telechat.train.state import load_state, save_state

Update = tuple[list[Batch], float]
"""The micro-batches of one update of the weights, and the number that their summed loss is divided by."""


class Source(Protocol):
    """Where batches come from."""

    def batches(self, step: int) -> tuple[list[Update], dict[str, float]]:
        """The updates of `step`, one in most stages, and figures to log.

        Must depend on the step, the weights and `state()` only.
        """
        ...

    def state(self) -> dict[str, Any]:
        """What must survive a kill, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        ...


class Stateless:
    """A source whose batches are a function of the step alone."""

    def __init__(self, make: Callable[[int], Update]) -> None:
        self.make = make

    def batches(self, step: int) -> tuple[list[Update], dict[str, float]]:
        """See `Source`."""
        return [self.make(step)], {}

    def state(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


class Metrics:
    """metrics.jsonl: one line a logged step, cut back to the checkpoint when a stage resumes."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        kept = []
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break  # the process died while writing this line
            if row["step"] <= step:
                kept.append(line)
        write_text(path, "".join(line + "\n" for line in kept))
        self.file = open(path, "a")  # noqa: SIM115  (closed by `close`)

    def log(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class Trainer:
    """Runs `steps` steps of `loss` over `source`; picks up at the last saved step when `folder` holds a state.

    The state is saved after every `save_every` steps and at the end; None never saves.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        source: Source,
        optimizer: OptimizerConfig,
        folder: Path,
        steps: int,
        *,
        name: str,
        progress: Progress,
        save_every: int | None = 50,
        after_step: Callable[[int, nn.Module], None] | None = None,
    ) -> None:
        self.accelerator = Accelerator(cpu=training_device() == "cpu")
        self.model = model
        self.source = source
        self.config = optimizer
        self.folder = folder
        self.steps = steps
        self.name = name
        self.progress = progress
        self.save_every = save_every
        self.after_step = after_step
        self.optimizers = build_optimizers(model, optimizer)
        self.objective = self.accelerator.prepare(Objective(model, loss))
        self.state_file = folder / "state.safetensors"
        self.tokens = 0

    def run(self) -> None:
        """Train to the end; afterwards the model holds the final weights and the state file is still there."""
        step = 0
        if self.state_file.exists():
            extra = load_state(self.state_file, self.model, self.optimizers)
            step, self.tokens = extra["step"], extra["tokens"]
            self.source.restore(extra["source"])
        metrics = Metrics(self.folder / "metrics.jsonl", step)
        self.model.train()
        try:
            while step < self.steps:
                row = self._step(step)
                step += 1
                metrics.log({"step": step, **row})
                shown = {k: row[k] for k in ("loss", "reward", "right") if k in row}
                self.progress.update(self.name, step, self.steps, **shown, **{"tok/s": f"{row['tokens_per_second']:,.0f}"})
                if self.after_step is not None:
                    self.after_step(step, self.model)
                if self.save_every and (step % self.save_every == 0 or step == self.steps):
                    self._save(step)
        finally:
            metrics.close()
        self.model.eval()

    def _save(self, step: int) -> None:
        extra = {"step": step, "tokens": self.tokens, "source": self.source.state()}
        save_state(self.state_file, self.model, self.optimizers, extra)

    def _step(self, step: int) -> dict[str, Any]:
        begun = time.perf_counter()
        updates, row = self.source.batches(step)
        self.model.train()
        made = time.perf_counter()
        rate = learning_rate(self.config, step, self.steps)
        means: dict[str, float] = {"loss": 0.0}
        tokens, norm = 0, 0.0
        for batches, divisor in updates:
            tokens += sum(batch.tokens for batch in batches)
            figures = self._accumulate(batches, divisor)
            norm = self._update(rate) if batches else 0.0
            for key, value in figures.items():
                means[key] = means.get(key, 0.0) + value / len(updates)
        self.tokens += tokens
        return {
            **{k: round(v, 5) for k, v in {**means, **row}.items()},
            "lr": rate,
            "norm": round(norm, 4),
            "tokens": tokens,
            "seconds": round(time.perf_counter() - begun, 4),
            "source_seconds": round(made - begun, 4),
            "tokens_per_second": round(tokens / (time.perf_counter() - made + 1e-9), 1),
        }

    def _accumulate(self, batches: Sequence[Batch], divisor: float) -> dict[str, float]:
        """Gradients of the mean loss; returns it and the loss's own figures, both divided."""
        figures: dict[str, float] = {"loss": 0.0}
        for batch in batches:
            loss, sums = self.objective(batch.to(self.accelerator.device))
            self.accelerator.backward(loss / divisor)
            for key, value in {"loss": float(loss.detach()), **sums}.items():
                figures[key] = figures.get(key, 0.0) + value / divisor
        return figures

    def _update(self, rate: float) -> float:
        """One step of every optimiser at `rate`; returns the norm of the gradient."""
        norm = float(self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        return norm
