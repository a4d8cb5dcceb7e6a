"""`telechat bench rollout`: the embedded engine beside `transformers.generate`, 512 samples in groups of 16."""

from __future__ import annotations

from typing import Any

import torch

from telechat.bench.timing import interleaved, median
from telechat.bench.train import VOCABULARY, build
from telechat.core.progress import Progress
from telechat.core.seeds import rng
from telechat.engine import Engine, SamplingParams

GROUPS, GROUP, NEW_TOKENS = 32, 16, 40
PROMPT_LENGTHS = (12, 120)  # tokens; what the nano task kinds have


def measure(rounds: int = 3, progress: Progress | None = None) -> dict[str, Any]:
    """Generated tokens a second of both, sampling at temperature 1, every sample of equal length."""
    torch.set_num_threads(2)
    model = build("nano").eval()
    draw = rng("bench rollout")
    prompts = [[draw.randrange(24, VOCABULARY) for _ in range(draw.randint(*PROMPT_LENGTHS))] for _ in range(GROUPS)]
    engine = Engine(model, GROUPS * GROUP)
    tokens = GROUPS * GROUP * NEW_TOKENS

    def ours() -> float:
        engine.refresh()  # as after a training step: no prompt is known from the round before
        params = [[SamplingParams(NEW_TOKENS, seed=i * GROUP + j) for j in range(GROUP)] for i in range(GROUPS)]
        done = engine.generate(prompts, params)
        assert sum(len(c.ids) for group in done for c in group) == tokens
        return tokens

    longest = max(map(len, prompts))
    rows = [[0] * (longest - len(p)) + p for p in prompts for _ in range(GROUP)]
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts for _ in range(GROUP)])
    ids = torch.tensor(rows)

    def transformers_generate() -> float:
        with torch.no_grad():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                pad_token_id=0,
            )
        assert out.shape == (GROUPS * GROUP, longest + NEW_TOKENS)
        return tokens

    rates = interleaved(
        {"telechat": ours, "transformers": transformers_generate}, rounds, progress=progress or Progress(), what="bench rollout"
    )
    ratios = [a / b for a, b in zip(rates["telechat"], rates["transformers"], strict=True)]
    return {
        "samples": GROUPS * GROUP,
        "group": GROUP,
        "new_tokens": NEW_TOKENS,
        "telechat_tokens_per_second": round(median(rates["telechat"])),
        "transformers_tokens_per_second": round(median(rates["transformers"])),
        "ratio": round(median(ratios), 2),
    }
