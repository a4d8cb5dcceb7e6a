"""The part of `telechat bench serve` about eight-bit weights: what they save, and what they lose."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import torch
from torch import nn

from telechat.bench.llama_cpp import LlamaCpp, is_installed
from telechat.bench.models import random_model
from telechat.bench.serve import ANSWER, CONTEXT, PROMPT, SIZES, generate, prompts_of
from telechat.bench.timing import interleaved, median
from telechat.data.corpora import documents
from telechat.engine import Engine
from telechat.engine.linear import Linear, Weights, has_int8
from telechat.models.hub import find
from telechat.models.loading import load_model, load_tokenizer

SOURCES = ("stdlib.docs", "stdlib.code", "knowledge")
DOCUMENTS, TOKENS = 30, 256


def eight_bits(checkpoint: str | None, rounds: int) -> dict[str, Any] | None:
    """One stream at 110 M with eight-bit weights beside float32, and bits per byte of held-out text before and after on
    a trained model, where one is given. None where torch has no kernel."""
    if not has_int8():
        return None
    model = random_model(*SIZES["110M"], CONTEXT).eval()
    prompts = prompts_of("110M", 1)
    seconds: dict[str, list[float]] = {"own": [], "int8": [], "q8_0": []}

    kinds: tuple[Weights, ...] = ("own", "int8")
    engines = {weights: Engine(model, 1, weights=weights) for weights in kinds}  # once: a server's lasts

    def run(weights: Weights) -> float:
        seconds[weights].append(generate(engines[weights], prompts)["decode"])
        return float(ANSWER)

    candidates = {"own": lambda: run("own"), "int8": lambda: run("int8")}
    theirs = LlamaCpp(model, 1, PROMPT + ANSWER, eight_bits=True) if is_installed() else None
    if theirs is not None:

        def run_theirs() -> float:
            seconds["q8_0"].append(theirs.complete(prompts[0], ANSWER)["timings"]["predicted_ms"] / 1000)
            return float(ANSWER)

        candidates["q8_0"] = run_theirs
    interleaved(candidates, 2 * rounds)  # an answer takes two seconds, and machines have moods
    rates = {key: (ANSWER - 1) / median(values[1:]) for key, values in seconds.items() if values}
    found: dict[str, Any] = {
        "model": "110M",
        "float32_tokens_per_second": round(rates["own"], 1),
        "int8_tokens_per_second": round(rates["int8"], 1),
        "times": round(rates["int8"] / rates["own"], 2),
    }
    if theirs is not None:
        theirs.close()
        found["llama_cpp_q8_0_tokens_per_second"] = round(rates["q8_0"], 1)
    if checkpoint is not None:
        path = find(checkpoint)
        trained, tokenizer = load_model(path, dtype="float32", device="cpu"), load_tokenizer(path)
        found["bits_per_byte"] = {
            "float32": round(bits_per_byte(trained, tokenizer), 4),
            "int8": round(bits_per_byte(in_eight_bits(trained), tokenizer), 4),
        }
    return found


class _Layer(nn.Module):
    """A linear layer of a transformers model, computed as the engine computes it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = layer.weight
        self._small = Linear(layer.weight.detach(), None if layer.bias is None else layer.bias.detach(), "int8")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `nn.Linear`."""
        return self._small(x)


def in_eight_bits(model: Any) -> Any:
    """A copy of a transformers model whose linear layers have eight-bit weights."""
    small = copy.deepcopy(model)
    for parent in list(small.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, _Layer(child))
    return small


@torch.no_grad()
def bits_per_byte(model: Any, tokenizer: Any) -> float:
    """Of held-out code, docstrings and knowledge, each document's first `TOKENS` tokens."""
    nats = size = 0.0
    for source in SOURCES:
        for document in itertools.islice(documents(source, "heldout", 0, ()), DOCUMENTS):
            ids = tokenizer(document.text)["input_ids"][:TOKENS]
            if len(ids) > 1:
                row = torch.tensor([ids])
                nats += float(model(row, labels=row).loss) * (len(ids) - 1)
                size += len(tokenizer.decode(ids[1:]).encode())
    return nats / size / math.log(2)
