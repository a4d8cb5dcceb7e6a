"""The benches measure both sides, interleaved, and report a ratio of what they measured."""

from __future__ import annotations

import json
import time

import pytest

from telechat.bench.llama_cpp import is_installed
from telechat.bench.timing import interleaved


def test_candidates_take_turns_and_the_first_round_is_not_counted():
    order = []

    def candidate(name: str, seconds: float):
        def run() -> float:
            order.append(name)
            time.sleep(seconds)
            return 10.0

        return run

    rates = interleaved({"slow": candidate("slow", 0.02), "fast": candidate("fast", 0.005)}, rounds=3)
    assert order == ["slow", "fast"] * 4
    assert [len(r) for r in rates.values()] == [3, 3]
    assert max(rates["slow"]) <= 10.0 / 0.02
    assert min(rates["fast"]) > min(rates["slow"])


def test_a_slow_candidate_is_called_once_where_that_is_asked_for():
    candidates = {"slow": lambda: time.sleep(0.02) or 10.0, "fast": lambda: 10.0}
    assert [len(r) for r in interleaved(candidates, 3, slow=0.01).values()] == [1, 3]
    assert [len(r) for r in interleaved(candidates, 3).values()] == [3, 3]


@pytest.mark.slow
def test_the_trainer_is_no_slower_than_a_plain_loop():
    from telechat.bench.train import measure

    found = measure(rounds=5)
    for size, row in found["sizes"].items():
        assert row["ratio"] >= 0.97, size  # the promise is 1.0; a shared machine is noisy
        if size != "nano":
            assert row["share_of_peak"] >= 0.5


@pytest.mark.slow
def test_rollouts_are_three_times_as_fast_as_transformers():
    from telechat.bench.rollout import measure

    assert measure(rounds=3)["ratio"] >= 3


@pytest.mark.slow
def test_the_recipe_bench_runs_every_arm(tmp_path):
    from telechat.bench.recipe import quickstart, recipe
    from telechat.core.progress import Progress

    found = recipe([0], tmp_path, "smoke", Progress(quiet=True))
    arms = {"rl", "continued_sft", "continued_sft_slower", "one_path_rl"}
    assert arms | {"fused", "best_parent", "uniform"} <= set(found["mean"])
    assert json.loads(json.dumps(quickstart([0], tmp_path, "smoke", Progress(quiet=True))))["seeds"][0]["seed"] == 0


@pytest.fixture
def tiny(monkeypatch):
    """The serve bench on models that cost nothing."""
    from telechat.bench import serve, serving

    for name in serve.SIZES:
        monkeypatch.setitem(serve.SIZES, name, (32, 64, 1, 2, 1, 64))
    for module, name, value in (
        (serve, "ANSWER", 4),
        (serve, "PROMPT", 16),
        (serving, "PREFIX", 64),
        (serving, "STREAMS", 4),
        (serving, "MANY", 1000),
        (serving, "ROUNDS", 2),
    ):
        monkeypatch.setattr(module, name, value)
    return serve, serving


def test_the_serve_bench_measures_every_row(tiny):
    serve, serving = tiny
    row = serve._row("1M", max(serve.CONCURRENCY), serve.bandwidth(8), 1)
    beside = {"llama.cpp"} if is_installed() else set()
    assert set(row["tokens_per_second"]) == {"telechat", "transformers", "continuous_batching"} | beside
    assert min(row["tokens_per_second"].values()) > 0
    assert 0 < row["decode_roofline_share"] < 2
    assert serving.cached_prefix()["times"] > 0
    assert serving.under_load()["streams"] == 4
    memory = serving.memory()
    assert memory["late_mb"] < memory["early_mb"] + 50


def test_what_eight_bits_lose_is_measured(tiny, model, tokenizer):
    from telechat.bench.eight_bits import bits_per_byte, eight_bits, in_eight_bits
    from telechat.engine.linear import has_int8

    if not has_int8():
        pytest.skip("no eight-bit kernel here")
    assert eight_bits(None, 1)["times"] > 0
    before, after = bits_per_byte(model, tokenizer), bits_per_byte(in_eight_bits(model), tokenizer)
    assert before != after
    assert after == pytest.approx(before, rel=0.05)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cached_prefix_saves_and_requests_leave_no_memory_behind():
    from telechat.bench import serving

    assert serving.cached_prefix()["times"] >= 10
    assert serving.under_load()["times"] <= 3
    memory = serving.memory()
    assert memory["late_mb"] < memory["early_mb"] + 10
    assert serving.http_cost("30M")["added"] <= 0.1


def test_the_gpu_bench_needs_a_device_and_has_the_published_size():
    import torch

    from telechat.bench import gpu
    from telechat.bench.models import random_model
    from telechat.core.errors import UserError

    with torch.device("meta"):
        model = random_model(*gpu.SIZES["TeleChat3-36B"], gpu.VOCABULARY, gpu.CONTEXT, tied=False)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(36.25e9, rel=1e-3)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA device"):
            gpu.measure()
