"""A model and what it is asked to minimise, as one module: what `accelerate` wraps and the trainer calls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from telechat.train.batches import Batch

Loss = Callable[[nn.Module, Batch], tuple[torch.Tensor, dict[str, float]]]


class Objective(nn.Module):
    """`model` and a loss; the forward pass returns the summed loss of a batch and figures to log (sums as well)."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Summed loss (scalar) and the figures of this batch."""
        return self.loss(self.model, batch)
