"""`telechat bench serve`: the embedded engine against the machine's roofline and beside `transformers`.

Prompts of 128 tokens, answers of 128, for models of 1 M, 30 M and 110 M parameters and 1, 8 and 64 requests at a time;
decoding and prefill are timed apart. Beside it transformers' `generate`, its continuous batching at 64, and llama.cpp
where it is installed. What no step can be faster than is said in `roofline.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch

from telechat.bench import llama_cpp
from telechat.bench.models import random_model
from telechat.bench.roofline import Sizes, bandwidth, roofline
from telechat.bench.timing import interleaved, median
from telechat.core.progress import Progress
from telechat.core.seeds import rng
from telechat.engine import Engine, SamplingParams

# name → (hidden, intermediate, layers, heads, kv heads, vocabulary)
SIZES = {
    "1M": (128, 384, 4, 4, 2, 2048),
    "30M": (512, 1408, 8, 8, 4, 8192),
    "110M": (768, 2304, 14, 12, 4, 16384),
}
CONCURRENCY = (1, 8, 64)
SLOW = 60.0  # seconds: a candidate that takes longer for one call is not called again
PROMPT, ANSWER, CONTEXT = 128, 128, 1024


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

    engines = [Engine(model, count) for _ in range(rounds + 1)]  # one for each round: nothing is known of the prompts

    def ours() -> float:
        for key, seconds in generate(engines.pop(), prompts).items():
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
    rates = {key: median(values) for key, values in interleaved(candidates, rounds, SLOW).items()}
    if theirs_in_c is not None:
        theirs_in_c.close()
    prefill, decode = median(times["prefill"][1:]), median(times["decode"][1:])
    step, whole = roofline(Sizes(*SIZES[name]), parameters, count, PROMPT, ANSWER, read)
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
