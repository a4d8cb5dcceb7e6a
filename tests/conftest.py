"""Small real things that many tests need: a tokenizer, a model, a renderer; no network anywhere."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

torch.set_num_threads(2)


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def tokenizer():
    from telechat.tasks.registry import KINDS, generate
    from telechat.train.tokenizer import train_tokenizer

    texts = []
    for kind in KINDS:
        for index in range(20):
            task = generate(kind, "train", 0, index)
            texts += [m.content or "" for m in task.messages]
            texts += [m.content or m.reasoning_content or "" for path in task.paths for m in path]
    return train_tokenizer(texts, 700, 640)


@pytest.fixture(scope="session")
def renderer(tokenizer):
    from telechat.chat.formats import get_format
    from telechat.chat.render import Renderer

    return Renderer(tokenizer, get_format("telechat3-coder"))


@pytest.fixture
def model(tokenizer):
    """A fresh tiny TeleChat3 whose logits are far from uniform."""
    from telechat.core.recipe import ModelConfig
    from telechat.models.presets import new_model

    config = ModelConfig(hidden_size=32, layers=2, heads=4, kv_heads=2, intermediate_size=64, context=256)
    made = new_model(config, tokenizer, seed=0).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return made
