"""`telechat bench serve`: the embedded engine against the machine's roofline and beside `transformers`.

Prompts of 128 tokens, answers of 128, for models of 1 M, 30 M and 110 M parameters and 1, 8 and 64 requests at a time;
decoding and prefill are timed apart. Beside it transformers' `generate`, its continuous batching at 64, and llama.cpp
where it is installed. No step can be faster than reading the weights once, or than its multiplications at the best rate
that torch reaches on this machine at that batch (`F.linear`, or oneDNN with weights in its own order):

    decode step ≥ max(weight bytes / bandwidth, 2 · parameters · batch / GEMM rate(batch)) + KV bytes / bandwidth
    prefill     ≥ 2 · parameters · tokens / GEMM rate(tokens)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from telechat.bench import llama_cpp
from telechat.bench.models import random_model
from telechat.bench.timing import interleaved, median
from telechat.core.progress import Progress
from telechat.core.seeds import rng
from telechat.engine import Engine, SamplingParams
from telechat.engine.linear import Linear

# name → (hidden, intermediate, layers, heads, kv heads, vocabulary)
SIZES = {
    "1M": (128, 384, 4, 4, 2, 2048),
    "30M": (512, 1408, 8, 8, 4, 8192),
    "110M": (768, 2304, 14, 12, 4, 16384),
}
CONCURRENCY = (1, 8, 64)
PROMPT, ANSWER, CONTEXT = 128, 128, 1024


def bandwidth(megabytes: int = 512) -> float:
    """Bytes a second that this machine reads from memory, the best of five."""
    data = torch.ones(megabytes * 2**18)
    best = min(_seconds(lambda: data.sum()) for _ in range(5))
    return data.numel() * 4 / best


def _seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def gemm_rate(name: str, rows: int) -> float:
    """Floating point operations a second of the model's own matrices with `rows` rows, one after the other, as a step
    uses them."""
    hidden, intermediate, layers, heads, kv_heads, vocabulary = SIZES[name]
    head = hidden // heads
    shapes = [(hidden, hidden + 2 * kv_heads * head), (hidden, hidden), (hidden, 2 * intermediate), (intermediate, hidden)]
    matrices = [torch.randn(o, i) for _ in range(layers) for i, o in shapes] + [torch.randn(vocabulary, hidden)]
    inputs = {i: torch.randn(rows, i) for i in (hidden, intermediate)}

    layers_of = [Linear(matrix) for matrix in matrices]

    def plain() -> None:
        for matrix in matrices:
            F.linear(inputs[matrix.shape[1]], matrix)

    def packed() -> None:
        for matrix, layer in zip(matrices, layers_of, strict=True):
            layer(inputs[matrix.shape[1]])

    best = min(_seconds(call) for _ in range(6) for call in (plain, packed))
    return 2 * rows * sum(m.numel() for m in matrices) / best


def measure(model: str | None = None, rounds: int = 3, progress: Progress | None = None) -> dict[str, Any]:
    """One row for each model and concurrency: tokens a second, share of the roofline, and transformers beside it; then
    eight-bit weights (what they lose is measured on the checkpoint `model`), and what the server adds."""
    from telechat.bench.eight_bits import eight_bits
    from telechat.bench.serving import serving

    progress = progress or Progress()
    torch.set_num_threads(2)
    read = bandwidth()
    rows = []
    for name in SIZES:
        for count in CONCURRENCY:
            rows.append(_row(name, count, read, rounds))
            progress.note(f"bench serve {name}, {count} at a time: {json.dumps(rows[-1]['tokens_per_second'])} tokens/s")
    return {
        "bandwidth_gb_per_s": round(read / 1e9, 1),
        "prompt": PROMPT,
        "answer": ANSWER,
        "rows": rows,
        "int8": eight_bits(model, rounds),
        **serving(progress),
    }


def prompts_of(name: str, count: int, length: int = PROMPT) -> list[list[int]]:
    """Random prompts for a model of this size, the same in every run."""
    draw = rng("bench serve", name, count)
    return [[draw.randrange(10, SIZES[name][-1]) for _ in range(length)] for _ in range(count)]


def _row(name: str, count: int, read: float, rounds: int) -> dict[str, Any]:
    model = random_model(*SIZES[name], CONTEXT).eval()
    parameters = sum(p.numel() for p in model.parameters())
    prompts = prompts_of(name, count)
    times: dict[str, list[float]] = {"prefill": [], "decode": []}

    def ours() -> float:
        for key, seconds in generate(Engine(model, count), prompts).items():
            times[key].append(seconds)
        return float(count * ANSWER)

    ids = torch.tensor(prompts)

    def theirs() -> float:
        settings = {"max_new_tokens": ANSWER, "min_new_tokens": ANSWER, "do_sample": False, "pad_token_id": 0}
        with torch.no_grad():
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
        return float(count * ANSWER)

    candidates: dict[str, Callable[[], float]] = {"telechat": ours, "transformers": theirs}
    if count == max(CONCURRENCY):
        candidates["continuous_batching"] = lambda: _continuous(model, prompts)
    theirs_in_c = llama_cpp.LlamaCpp(model, count, PROMPT + ANSWER) if llama_cpp.is_installed() else None
    if theirs_in_c is not None:
        candidates["llama.cpp"] = lambda: float(ANSWER * len(theirs_in_c.complete_all(prompts, ANSWER)))
    rates = {key: median(values) for key, values in interleaved(candidates, rounds).items()}
    if theirs_in_c is not None:
        theirs_in_c.close()
    prefill, decode = median(times["prefill"][1:]), median(times["decode"][1:])
    step, whole = _roofline(name, parameters, count, read)
    return {
        "model": name,
        "parameters": parameters,
        "requests": count,
        "decode_tokens_per_second": round(count * (ANSWER - 1) / decode, 1),
        "decode_roofline_share": round(step * (ANSWER - 1) / decode, 3),
        "prefill_tokens_per_second": round(count * PROMPT / prefill, 1),
        "prefill_roofline_share": round(whole / prefill, 3),
        "tokens_per_second": {key: round(rate, 1) for key, rate in rates.items()},
        "times_transformers": round(rates["telechat"] / rates["transformers"], 2),
    }


def generate(engine: Engine, prompts: list[list[int]]) -> dict[str, float]:
    """Seconds of prefill and of decoding `ANSWER` tokens for every prompt."""
    for prompt in prompts:
        engine.add(prompt, [SamplingParams(ANSWER, 0.0)])
    begun = time.perf_counter()
    while engine.rows.live < len(prompts) or not all(row.ready for row in engine.rows):
        engine._prefill_step()
    between = time.perf_counter()
    while not engine.idle:
        engine.step()
    return {"prefill": between - begun, "decode": time.perf_counter() - between}


def _continuous(model: Any, prompts: list[list[int]]) -> float:
    """The same prompts through transformers' continuous batching; how many tokens it gave."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    pages = len(prompts) * (-(-(PROMPT + ANSWER) // 256) + 1)  # two of its pages a request are more than it needs
    settings = ContinuousBatchingConfig(num_blocks=pages, max_batch_tokens=2048, use_cuda_graph=False)
    config = GenerationConfig(max_new_tokens=ANSWER, do_sample=False, pad_token_id=0, eos_token_id=-1)
    with torch.no_grad():
        found = model.generate_batch(
            inputs=prompts, generation_config=config, continuous_batching_config=settings, progress_bar=False, warmup=False
        )
    return float(sum(len(answer.generated_tokens) for answer in found.values()))


def _roofline(name: str, parameters: int, count: int, read: float) -> tuple[float, float]:
    """Seconds that a decode step and the prefill take at least."""
    hidden, _, layers, heads, kv_heads, vocabulary = SIZES[name]
    kept = 2 * layers * kv_heads * (hidden // heads) * 4 * (PROMPT + ANSWER / 2) * count
    step = max(4 * parameters / read, 2 * parameters * count / gemm_rate(name, count)) + kept / read
    tokens = count * PROMPT
    matrices = parameters - vocabulary * hidden  # the output layer sees the last token of each prompt only
    return step, 2 * matrices * tokens / gemm_rate(name, min(tokens, 4096))
