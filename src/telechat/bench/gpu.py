"""`telechat bench gpu`: the embedded engine on one GPU, on TeleChat3-36B's sizes and smaller ones, in bfloat16 with
random weights.

Every size that fits the memory is measured, at 1, 8 and 64 requests of 512 tokens that are answered with 128. Decoding
stands beside the time that reading the weights once takes; `transformers.generate` of the same requests beside both.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch

from telechat.bench.models import random_model
from telechat.bench.serve import generate
from telechat.core.errors import UserError
from telechat.core.seeds import rng
from telechat.engine import Engine

CONCURRENCY = (1, 8, 64)
PROMPT, ANSWER = 512, 128
VOCABULARY, CONTEXT = 131072, 8192

# name → (hidden, intermediate, layers, heads, kv heads): TeleChat3-36B's own, and smaller ones.
SIZES = {
    "1B": (2048, 8192, 16, 16, 8),
    "7B": (4096, 12288, 30, 32, 8),
    "TeleChat3-36B": (6144, 24576, 64, 48, 8),
}


def measure() -> dict[str, Any]:
    """One row for each size and number of requests. Raises `UserError` without a CUDA device."""
    if not torch.cuda.is_available():
        raise UserError("bench gpu: no CUDA device here; `telechat bench serve` measures the processor")
    free, total = torch.cuda.mem_get_info()
    read = _bandwidth()
    rows = []
    for name, sizes in SIZES.items():
        model = _model(*sizes)
        if model is None:
            continue
        for count in CONCURRENCY:
            rows.append(_row(name, model, count, read))
            print(rows[-1], file=sys.stderr, flush=True)
        del model
        torch.cuda.empty_cache()
    return {
        "device": torch.cuda.get_device_name(),
        "memory_gb": round(total / 1e9, 1),
        "free_gb": round(free / 1e9, 1),
        "bandwidth_gb_per_s": round(read / 1e9, 1),
        "prompt": PROMPT,
        "answer": ANSWER,
        "rows": rows,
    }


def _bandwidth() -> float:
    """Bytes a second that a sum over 4 GB reads, the best of five."""
    data = torch.ones(2**31, dtype=torch.bfloat16, device="cuda")
    best = min(_seconds(data.sum) for _ in range(5))
    return data.numel() * 2 / best


def _seconds(call: Any) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def _model(hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int) -> Any:
    """A model of these sizes on the device, None when it and its keys and values do not fit."""
    sizes = (hidden, intermediate, layers, heads, kv_heads, VOCABULARY, CONTEXT)
    with torch.device("meta"):
        numbers = sum(p.numel() for p in random_model(*sizes, tied=False).parameters())
    positions = 2 * max(CONCURRENCY) * (PROMPT + ANSWER)  # of the engine, and of `transformers`
    needed = 2 * numbers + positions * 4 * layers * kv_heads * (hidden // heads) + 4e9
    if needed > torch.cuda.mem_get_info()[0]:
        return None
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            return random_model(*sizes, tied=False).eval()
    finally:
        torch.set_default_dtype(before)


def _row(name: str, model: Any, count: int, read: float) -> dict[str, Any]:
    draw = rng("bench gpu", count)
    prompts = [[draw.randrange(10, VOCABULARY) for _ in range(PROMPT)] for _ in range(count)]
    parameters = sum(p.numel() for p in model.parameters())
    ids = torch.tensor(prompts, device="cuda")
    settings = {"max_new_tokens": ANSWER, "min_new_tokens": ANSWER, "do_sample": False, "pad_token_id": 0}
    torch.cuda.reset_peak_memory_stats()
    generate(Engine(model, count), prompts)  # warms up
    times = generate(Engine(model, count), prompts)
    with torch.no_grad():
        short = {**settings, "max_new_tokens": 2, "min_new_tokens": 2}
        model.generate(input_ids=ids[:1], attention_mask=torch.ones_like(ids[:1]), **short)
        theirs = _seconds(lambda: model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings))
    embedding = model.config.vocab_size * model.config.hidden_size  # read by lookup
    step = 2 * (parameters - embedding) / read
    return {
        "model": name,
        "parameters": parameters,
        "requests": count,
        "memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1),
        "prefill_tokens_per_second": round(count * PROMPT / times["prefill"], 1),
        "decode_tokens_per_second": round(count * (ANSWER - 1) / times["decode"], 1),
        "decode_weights_share": round(step * (ANSWER - 1) / times["decode"], 3),
        "times_transformers": round(theirs / (times["prefill"] + times["decode"]), 2),
    }
