"""The optimisers: AdamW for everything, or Muon on the hidden matrices with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from telechat.core.recipe import OptimizerConfig

# Newton–Schulz iterations x → a·x + b·x³ + c·x⁵ on the singular values of a matrix of Frobenius norm 1. Five with the
# coefficients of Jordan et al. 2024 ("Muon") lift everything above 0.002 to about 1, which wide matrices need; up to
# a width of 256 singular values are larger, and three with coefficients of their own (least squares of the distance
# from 1 between 0.01 and 1, docs/log.md) lift everything above 0.02, for three fifths of the work.
_WIDE = ((3.4445, -4.7750, 2.0315),) * 5
_NARROW = ((6.8625, -19.5889, 14.3709), (3.0260, -2.7919, 0.7231), (2.5242, -2.3746, 0.8170))


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest semi-orthogonal matrix of each of (count, rows, columns), approximately, in their own dtype.

    `torch.optim.Muon` computes the same in bfloat16, which is eight times slower than float32 on a CPU without
    bfloat16 units, and one matrix at a time.
    """
    flip = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if flip else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for a, b, c in _NARROW if x.shape[1] <= 256 else _WIDE:
        gram = x @ x.mT
        x = torch.baddbmm(a * x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x)
    return x.mT if flip else x


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton–Schulz; equal shapes are computed together.

    The update is scaled by 0.2·√(max dimension) so that its size matches AdamW's (Moonlight, arXiv 2502.16982 §2.2)
    and one learning rate serves both.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(tuple(p.shape), []).append(p)
            for shape, parameters in shapes.items():
                for p in parameters:
                    self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffers = [self.state[p]["momentum"] for p in parameters]
                gradients = [p.grad for p in parameters if p.grad is not None]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                looked_ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
                update = orthogonalised(torch.stack(list(looked_ahead)))
                for p, u in zip(parameters, update, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(u, alpha=-0.2 * max(shape) ** 0.5 * group["lr"])


def build_optimizers(model: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """The optimisers of a stage; norms and biases are not decayed."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    hidden = [p for n, p in named if config.name == "muon" and p.ndim == 2 and "embed" not in n and "head" not in n]
    taken = {id(p) for p in hidden}
    rest = [p for _, p in named if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if any(g["params"] for g in groups):
        groups = [g for g in groups if g["params"]]
        optimizers.append(torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True))
    if hidden:
        optimizers.append(Muon(hidden, lr=config.lr, weight_decay=config.weight_decay))
    return optimizers


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The rate of `step` (from 0): linear warm-up, constant, then linear decay to `final` × lr over the last part."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    decay_steps = int(config.decay * steps)
    left = steps - step
    cool = 1.0 if left > decay_steps else config.final + (1 - config.final) * left / max(1, decay_steps)
    return config.lr * warm * cool
