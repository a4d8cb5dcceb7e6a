"""A model and what it is asked to minimise, as one module: what `accelerate` wraps and the trainer calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from transformers import DynamicCache, LlamaModel

from telechat.train.batches import Batch

# transformers renamed the argument between the versions that we support.
CACHE_ARGUMENT = "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"


def hidden_states(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The final hidden state at every completion token: (rows, time, hidden).

    A shared prompt is computed once; its keys and values are repeated for the completions that share it.
    """
    if batch.prompts is None:
        return _trunk(model)(input_ids=batch.completions, use_cache=False).last_hidden_state
    return _after_prompts(model, batch)[1]


def predicting_states(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The hidden state that predicts each completion token: (rows, time, hidden).

    Without prompts nothing predicts the first token: its row is zero, and its weight must be 0.
    """
    if batch.prompts is None:
        states = hidden_states(model, batch)
        return F.pad(states[:, :-1], (0, 0, 1, 0))
    last, states = _after_prompts(model, batch)
    return torch.cat([last[:, None], states[:, :-1]], 1)


def _trunk(model: nn.Module) -> nn.Module:
    return getattr(model, model.base_model_prefix)


def _after_prompts(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden state of the last prompt token for each row (rows, hidden), and of the completion (rows, time, hidden)."""
    prompts, lengths, parent = batch.prompts, batch.prompt_lengths, batch.parent
    assert prompts is not None
    assert lengths is not None
    assert parent is not None
    trunk = _trunk(model)
    cache = DynamicCache(config=model.config)
    read = trunk(input_ids=prompts, use_cache=True, **{CACHE_ARGUMENT: cache}).last_hidden_state
    last = read[torch.arange(len(prompts), device=prompts.device), lengths - 1][parent]
    cache.batch_select_indices(parent)
    rows, time = batch.completions.shape
    steps = torch.arange(prompts.shape[1], device=prompts.device)
    seen = torch.cat([steps[None] < lengths[:, None], steps.new_ones(len(prompts), time).bool()], 1)[parent]
    positions = lengths[parent][:, None] + torch.arange(time, device=prompts.device)[None]
    states = trunk(
        input_ids=batch.completions, attention_mask=seen, position_ids=positions, use_cache=True, **{CACHE_ARGUMENT: cache}
    ).last_hidden_state
    return last, states


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
