"""The merge stage: checkpoints fused with weights that rise with their scores.

"…selected several models of different training stages and fused their parameters, the weights positively correlated
with performance" (TeleChat2.5 card). Weights are softmax(dev score / temperature); the fusion is judged on held-out
tasks against every parent and the uniform average, and kept only if it is at least as good as the best parent; else
the parent that is best on dev goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from telechat.core.errors import UserError
from telechat.core.files import read_json, write_json
from telechat.core.recipe import MergeStage
from telechat.models.loading import training_device
from telechat.train.stage import StageContext, StageResult
from telechat.train.state import save_model


def performance_weights(scores: Sequence[float], temperature: float) -> list[float]:
    """Weights that sum to 1 and rise with the score: softmax(score / temperature)."""
    top = max(scores)
    raw = [math.exp((score - top) / temperature) for score in scores]
    return [value / sum(raw) for value in raw]


def fused_state(folders: Sequence[Path], weights: Sequence[float]) -> dict[str, torch.Tensor]:
    """The weighted sum of the tensors in `folders`, read shard by shard and tensor by tensor."""
    names: set[str] | None = None
    out: dict[str, torch.Tensor] = {}
    for folder, weight in zip(folders, weights, strict=True):
        seen: set[str] = set()
        for shard in sorted(folder.glob("*.safetensors")):
            with safe_open(shard, "pt") as file:
                for name in sorted(file.keys()):
                    tensor = file.get_tensor(name)
                    seen.add(name)
                    scaled = tensor.to(torch.float64) * weight
                    if name in out and out[name].shape != scaled.shape:
                        raise UserError(f"{folder}: {name} has shape {tuple(scaled.shape)}, not {tuple(out[name].shape)}")
                    out[name] = out[name] + scaled if name in out else scaled
        if names is not None and names != seen:
            odd = sorted(names ^ seen)[0]
            raise UserError(f"{folder}: not the same architecture as the other checkpoints (tensor {odd})")
        names = seen
    return {name: tensor.to(torch.float32) for name, tensor in out.items()}


def run(context: StageContext, config: MergeStage) -> StageResult:
    """Score the candidates on dev, fuse, judge on held-out tasks."""
    root = context.previous.parent / "candidates"
    parents = sorted(root.iterdir(), key=lambda f: int(f.name.rpartition("-")[2]))
    kinds = config.kinds or list(context.kinds)
    tokenizer = context.tokenizer()
    scores = _Scores(context, config, kinds)
    dev = {p.name: scores.of(p.name, p, "dev") for p in parents}
    weights = dict(zip(dev, performance_weights(list(dev.values()), config.temperature), strict=True))
    uniform = dict.fromkeys(dev, 1 / len(dev))
    heldout = {p.name: scores.of(p.name, p, "heldout") for p in parents}
    judged = {}
    for name, chosen in (("fused", weights), ("uniform", uniform)):
        folder = context.folder / name
        if not folder.exists():
            model = AutoModelForCausalLM.from_pretrained(parents[-1])
            model.load_state_dict(fused_state(parents, list(chosen.values())), strict=False)
            save_model(model, tokenizer, folder)
        judged[name] = scores.of(name, folder, "heldout")
    best = max(heldout, key=lambda name: heldout[name])
    kept = judged["fused"] >= heldout[best]
    winner = context.folder / "fused" if kept else root / max(dev, key=lambda name: dev[name])
    save_model(AutoModelForCausalLM.from_pretrained(winner), tokenizer, context.folder / "model")
    return StageResult(
        {
            "parents": heldout,
            "dev": dev,
            "weights": {name: round(w, 4) for name, w in weights.items()},
            "fused": judged["fused"],
            "best_parent": heldout[best],
            "uniform": judged["uniform"],
            "kept": kept,
        }
    )


class _Scores:
    """Scores of checkpoints, kept on disk so that an interrupted stage does not score twice."""

    def __init__(self, context: StageContext, config: MergeStage, kinds: Sequence[str]) -> None:
        self.context, self.config, self.kinds = context, config, kinds
        self.file = context.folder / "judged.json"
        self.known: dict[str, float] = read_json(self.file) if self.file.exists() else {}

    def of(self, name: str, folder: Path, split: str) -> float:
        """Mean score of the checkpoint in `folder` on `split`."""
        key = f"{name}/{split}"
        if key not in self.known:
            model = AutoModelForCausalLM.from_pretrained(folder).to(training_device()).eval()
            count = self.config.dev if split == "dev" else self.config.heldout
            found: Mapping[str, float] = self.context.score(model, split, count, self.kinds)
            self.known[key] = found["mean"]
            write_json(self.file, self.known)
        return self.known[key]
