"""The family's models in the real SGLang, on the CPU: its model runner beside transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "sglang", exc_type=ImportError, reason="SGLang is not installed here; `make test-plugins` makes an environment with it"
)

import torch
from transformers import AutoModelForCausalLM

import telechat  # noqa: F401  (registers the family)
from tests.models.published import add_tokenizer, telechat3_coder
from tests.models.test_telechat2 import checkpoint
from tests.plugins.sglang_forward import PROMPTS

HERE = Path(__file__).parent
CPU = {**os.environ, "PYTHONPATH": str(HERE / "absent"), "SGLANG_USE_CPU_ENGINE": "1"}


def classic(folder: Path, architecture: str, **changes: Any) -> Path:
    """A TeleChat2 as published, with what it takes to be served."""
    checkpoint(folder, architecture, vocabulary=1024, **changes)
    add_tokenizer(folder, "TelechatTokenizer", thinks=False)
    return folder


def forward(folder: Path) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "sglang_forward.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=CPU)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


LENGTHS = {"training_seqlen": 64, "base_seqlen": 32, "seq_length": 256}
CASES = {
    "TelechatForCausalLM": lambda f: classic(f, "TelechatForCausalLM", seq_length=1024),
    "one key and value head for each query head": lambda f: classic(
        f, "TeleChat2ForCausalLM", num_key_value_heads=None, seq_length=1024
    ),
    "the 7B-32K's rotary settings": lambda f: classic(
        f, "TeleChatForCausalLM", seq_length=1024, rope_theta=1e6, rope_scaling={"factor": 1.0, "rope_type": "dynamic"}
    ),
    "past the training length": lambda f: classic(f, "Telechat2ForCausalLM", ntk_length=256, **LENGTHS),
    "Telechat3ForCausalLM": telechat3_coder,
}


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(tmp_path, name):
    folder = CASES[name](tmp_path / "model")
    found = forward(folder)
    assert found["class"] == json.loads((folder / "config.json").read_text())["architectures"][0]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for row, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            wanted = model(torch.tensor([[*prompt, found["next"][row]]])).logits[0, -2:]
        assert wanted.abs().max() > 0.5
        torch.testing.assert_close(torch.tensor(found["prefill"][row]), wanted[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.tensor(found["decode"][row]), wanted[1], atol=1e-5, rtol=0)
