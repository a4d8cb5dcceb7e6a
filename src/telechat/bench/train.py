"""`telechat bench train`: our trainer beside a plain hand-written PyTorch loop of the same model and batch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from telechat.bench.models import random_model
from telechat.bench.timing import interleaved, median
from telechat.core.progress import Progress
from telechat.core.recipe import OptimizerConfig
from telechat.machine import gemm_gflops
from telechat.train.batches import Batch, rows_batch
from telechat.train.losses import next_token
from telechat.train.trainer import Stateless, Trainer

# name → (hidden, intermediate, layers, heads, kv heads, rows, tokens a row); the first is the nano preset
SIZES = {
    "nano": (160, 448, 4, 4, 2, 16, 256),
    "hidden-256": (256, 704, 4, 8, 2, 16, 256),
    "hidden-512": (512, 1408, 4, 8, 2, 8, 256),
}
STEPS = 3  # of one turn
VOCABULARY = 1536


def build(size: str) -> Any:
    """A fresh model of a bench size."""
    return random_model(*SIZES[size][:5], VOCABULARY, 512)


def plain_loop(model: Any, ids: torch.Tensor) -> Callable[[], float]:
    """What one would write by hand: forward, cross-entropy, backward, clip, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()

    def run() -> float:
        for _ in range(STEPS):
            logits = model(input_ids=ids, use_cache=False).logits
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return STEPS * ids.numel()

    return run


def our_loop(model: Any, ids: torch.Tensor, folder: Path) -> Callable[[], float]:
    """The package's trainer, with its metrics file and everything else that it does in a run."""
    batch = rows_batch(ids)

    def make(step: int) -> tuple[list[Batch], float]:
        return [batch], float(len(batch.targets))

    trainer = Trainer(
        model,
        next_token,
        Stateless(make),
        OptimizerConfig(lr=1e-4),
        folder,
        STEPS,
        name="bench",
        progress=Progress(quiet=True),
        save_every=None,  # the plain loop saves nothing either
    )

    def run() -> float:
        trainer.run()
        return STEPS * ids.numel()

    return run


def measure(rounds: int = 5, progress: Progress | None = None) -> dict[str, Any]:
    """Tokens a second of both, their ratio, and ours as a share of the matrix peak (6 FLOP a parameter and token)."""
    torch.set_num_threads(2)
    peak = gemm_gflops()
    out: dict[str, Any] = {"gemm_gflops": round(peak, 1), "sizes": {}}
    for size, (*_, rows, time) in SIZES.items():
        ids = torch.randint(0, VOCABULARY, (rows, time), generator=torch.Generator().manual_seed(0))
        model = build(size)
        parameters = sum(p.numel() for p in model.parameters())
        with tempfile.TemporaryDirectory() as folder:
            candidates = {"plain": plain_loop(build(size), ids), "telechat": our_loop(model, ids, Path(folder))}
            rates = interleaved(candidates, rounds, progress=progress or Progress(), what=f"bench train {size}")
        ours, plain = median(rates["telechat"]), median(rates["plain"])
        ratios = [a / b for a, b in zip(rates["telechat"], rates["plain"], strict=True)]
        out["sizes"][size] = {
            "parameters": parameters,
            "telechat_tokens_per_second": round(ours),
            "plain_tokens_per_second": round(plain),
            "ratio": round(median(ratios), 3),
            "share_of_peak": round(6 * parameters * ours / 1e9 / peak, 3),
        }
    return out
