"""The pretrain stages: next-token prediction on a mixture, each stage on denser and harder data than the last.

The curriculum is checked, not assumed: the difficulty and the quality of a stage's data are measured on the very
documents that it will read (`data.mixture.describe`), and a stage whose data is not harder, or of lower quality, than
its predecessor's is refused unless the recipe says `allow_easier: true`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from telechat.chat.render import Renderer
from telechat.core.errors import UserError
from telechat.core.files import read_json
from telechat.core.recipe import PretrainStage
from telechat.data.corpora import Document
from telechat.data.mixture import BEGINS, WRITTEN, Encode, fill, stage_rows
from telechat.models.presets import new_model
from telechat.train.batches import Batch, Sample, microbatches, rows_batch
from telechat.train.examples import path_sample
from telechat.train.losses import next_token
from telechat.train.stage import StageContext, StageResult
from telechat.train.state import save_model
from telechat.train.trainer import Stateless

HELDOUT_TOKENS = 6144


def run(context: StageContext, config: PretrainStage) -> StageResult:
    """Train, keep the candidates for a merge stage, and measure held-out bits per byte of each source."""
    tokenizer = context.tokenizer()
    encode = encoder(context.renderer(tokenizer))
    first = not any(kind == "pretrain" for kind in context.stage_kinds.values())
    model = new_model(context.recipe.model, tokenizer, context.seed) if first else context.model()
    rows = config.steps * config.batch
    table, marks, facts = stage_rows(
        context.folder / "data", config.mixture, rows, config.context, context.seed, context.kinds, encode
    )
    _gate(context, config, facts)

    def batches(step: int) -> tuple[list[Batch], float]:
        chosen = slice(step * config.batch, (step + 1) * config.batch)
        made = step_batches(table[chosen], marks[chosen], config)
        return made, sum(float(b.weights.sum()) for b in made)

    kept = _candidates(config)

    def keep(step: int, model: Any) -> None:
        if step in kept:
            save_model(model, tokenizer, context.folder / "candidates" / f"step-{step}")

    tokens = context.train(model, next_token, Stateless(batches), config, after_step=keep)
    measured = {source: _bits_per_byte(model, source, context, encode, tokenizer, config.context) for source in config.mixture}
    metrics = {
        "bits_per_byte": measured,
        "tokens": tokens,
        "difficulty": facts["difficulty"],
        "quality": facts["quality"],
    }
    return StageResult({**metrics, "data": facts})


def step_batches(table: np.ndarray, marks: np.ndarray, config: PretrainStage) -> list[Batch]:
    """The micro-batches of rows of tokens: as they are, or cut where documents begin."""
    ids = torch.from_numpy(table.astype("int64"))
    weights = torch.from_numpy((marks & WRITTEN).astype("float32")).clamp_min(config.prompt_weight)
    if config.across_documents:
        size = max(1, config.microbatch_tokens // ids.shape[1])
        return [rows_batch(i, w) for i, w in zip(ids.split(size), weights.split(size), strict=True)]
    samples = []
    for row, weight, mark in zip(ids.tolist(), weights.tolist(), marks, strict=True):
        cuts = [0, *(i for i in np.flatnonzero(mark & BEGINS).tolist() if i), len(row)]
        samples += [Sample((), tuple(row[a:b]), tuple(weight[a:b])) for a, b in pairwise(cuts) if b - a > 1]
    return microbatches(samples, config.microbatch_tokens)


def encoder(renderer: Renderer) -> Encode:
    """Document → token ids, ended by the end-of-turn token (the family's document separator), and whether the model
    writes each of them: all of a plain text, the assistant's turns of a conversation."""

    def encode(document: Document) -> tuple[list[int], list[int]]:
        if document.task is None or not document.source.startswith("chat."):
            ids = [*renderer.encode(document.text), renderer.end_id]
            return ids, [1] * len(ids)
        sample = path_sample(renderer, document.task, document.path)
        return [*sample.prompt, *sample.completion], [0] * len(sample.prompt) + [int(w) for w in sample.weights]

    return encode


def _candidates(config: PretrainStage) -> set[int]:
    """Steps whose weights are kept: the last `candidates` ones, `candidate_gap` × steps apart, up to the end."""
    gap = max(1, math.ceil(config.candidate_gap * config.steps))
    return {config.steps - i * gap for i in range(config.candidates)} if config.candidates else set()


@torch.no_grad()
def _bits_per_byte(
    model: Any,
    source: str,
    context: StageContext,
    encode: Any,
    tokenizer: PreTrainedTokenizerFast,
    length: int,
) -> float:
    """Bits that `model` needs for a byte of held-out text of `source` (bytes of the decoded tokens)."""
    wanted = max(HELDOUT_TOKENS // length, 1) * length
    ids, _, _ = fill({source: 1.0}, wanted, "heldout", context.seed + 1, context.kinds, encode)
    rows = torch.tensor(ids[:wanted]).view(-1, length)
    nats = float(next_token(model.eval(), rows_batch(rows).to(model.device))[0])
    text = sum(len(tokenizer.decode(row[1:], skip_special_tokens=False).encode()) for row in rows.tolist())
    return round(nats / math.log(2) / text, 4)


def _gate(context: StageContext, config: PretrainStage, facts: dict[str, Any]) -> None:
    """Refuse a stage whose data is not above its predecessor's."""
    folder = context.newest("pretrain")
    if folder is None or config.allow_easier:
        return
    before = read_json(folder.parent / "data" / "facts.json")
    if facts["difficulty"] <= before["difficulty"] or facts["quality"] < before["quality"]:
        raise UserError(
            f"stage {config.name}: its data is not above its predecessor's: difficulty {facts['difficulty']} after "
            f"{before['difficulty']}, quality {facts['quality']} after {before['quality']}; change the mixture or say "
            f"allow_easier: true"
        )
