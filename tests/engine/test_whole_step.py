"""The kernel of a whole step, beside the same step in torch's operations."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from telechat.engine import Engine, SamplingParams, openmp
from telechat.engine.runner import Runner
from tests.models.family import telechat2, telechat3

whole_step = pytest.importorskip("telechat.engine.whole_step")
pytestmark = pytest.mark.skipif(not whole_step.WholeStep.is_available(), reason="torch has no OpenMP that others may use")


def llama(**changes) -> LlamaForCausalLM:
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6, "vocab_size": 131}
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 256}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{**sizes, **changes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


MODELS = {
    "telechat2": telechat2,
    "telechat3": telechat3,
    "every bias": lambda: llama(attention_bias=True, mlp_bias=True),
    "heads of another size": lambda: llama(head_dim=16),
    "a head of its own": lambda: llama(tie_word_embeddings=False, num_key_value_heads=6),
    "one head of keys": lambda: llama(tie_word_embeddings=True, num_key_value_heads=1),
}


def filled(model, rows: int, positions: int = 64) -> Runner:
    runner = Runner(model.eval())
    runner.allocate(rows, positions)
    draw = torch.Generator().manual_seed(1)
    for cache in runner.kv:
        cache.copy_(torch.randn(cache.shape, generator=draw))
    return runner


def by_torch(runner: Runner, tokens: list[int], lengths: list[int]) -> torch.Tensor:
    """The same step in torch's operations, on the same slots."""
    kernels = runner._whole_step, runner._decode_attention
    runner._whole_step = runner._decode_attention = None
    try:
        return runner.decode(tokens, lengths)
    finally:
        runner._whole_step, runner._decode_attention = kernels


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 3, 4, 8])
@pytest.mark.parametrize("name", MODELS)
def test_it_computes_what_torch_does(name, rows, threads):
    runner = filled(MODELS[name](), rows)
    tokens, lengths = [7 + 5 * i for i in range(rows)], [(13 * i + 5) % 60 for i in range(rows)]
    before = [cache.clone() for cache in runner.kv]
    wanted = by_torch(runner, tokens, lengths)
    written = [cache.clone() for cache in runner.kv]
    for cache, old in zip(runner.kv, before, strict=True):
        cache.copy_(old)
    known = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert rows <= runner._whole_step.most_rows
        found = runner.decode(tokens, lengths)
    finally:
        torch.set_num_threads(known)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
    for cache, other in zip(runner.kv, written, strict=True):
        torch.testing.assert_close(cache, other, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 6])
def test_eight_bits_are_those_of_the_weights_and_nothing_else(rows):
    """Only the weights are rounded: the step is that of a model with the rounded weights."""
    model = telechat3()
    runner = Runner(model.eval(), "int8")
    runner.allocate(rows, 64)
    found = runner.decode([7 + i for i in range(rows)], [0] * rows)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("proj.weight") or name == "lm_head.weight":
                scales = parameter.abs().amax(1, keepdim=True) / 127
                parameter.copy_((parameter / scales).round() * scales)
    rounded = Runner(model)
    rounded.allocate(rows, 64)
    torch.testing.assert_close(found, by_torch(rounded, [7 + i for i in range(rows)], [0] * rows), atol=2e-5, rtol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours():
    runner = filled(telechat3(), 5)
    before = [cache.clone() for cache in runner.kv]
    together = runner.decode([9, 10, 11, 12, 13], [4, 9, 30, 2, 7])
    for cache, old in zip(runner.kv, before, strict=True):
        cache.copy_(old)
    alone = runner.decode([9], [4])
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)


def test_it_follows_new_weights_and_new_slots():
    model = telechat3()
    runner = filled(model, 2)
    runner.decode([5, 6], [1, 2])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
        model.model.layers[0].mlp.down_proj.weight = torch.nn.Parameter(model.model.layers[0].mlp.down_proj.weight * 2)
    runner.refresh()
    runner.allocate(3, 128)
    found = runner.decode([5, 6, 7], [1, 2, 100])
    torch.testing.assert_close(found, by_torch(runner, [5, 6, 7], [1, 2, 100]), atol=2e-5, rtol=1e-5)


def test_weights_that_are_no_float32_of_the_processor_go_without():
    assert Runner(telechat3().to(torch.bfloat16))._whole_step is None
    mixed = telechat3()
    mixed.model.norm.to(torch.float64)
    assert Runner(mixed)._whole_step is None


def test_what_was_compiled_before_another_file_changed_is_forgotten(tmp_path: Path):
    (tmp_path / "__pycache__").mkdir()
    kept, other = tmp_path / "a.py", tmp_path / "b.py"
    index, foreign = (tmp_path / "__pycache__" / f"{name}.f-3.py311.nbi" for name in "ab")
    for file in (kept, other, index, foreign):
        file.touch()
        os.utime(file, (1000, 1000))
    openmp._drop_stale(kept)
    assert index.exists()
    os.utime(other, (2000, 2000))
    openmp._drop_stale(kept)
    assert not index.exists()
    assert foreign.exists()


def test_an_engine_that_nobody_holds_is_gone_at_once():
    """A run makes many engines; their slots are most of its memory."""
    gc.disable()
    try:
        engine = Engine(telechat3(), 4)
        engine.generate([[3, 4, 5]], [[SamplingParams(4)]])
        slots = [weakref.ref(cache) for cache in engine.runner.kv]
        del engine
        assert [slot() for slot in slots] == [None] * len(slots)
    finally:
        gc.enable()
