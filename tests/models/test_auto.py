"""`import telechat` is the one line that makes transformers know the family, before or after transformers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.models.published import telechat3_coder, telechat25

ORDERS = {
    "telechat first": "import telechat\nfrom transformers import {auto}",
    "transformers first": "from transformers import {auto}\nimport telechat",
    "a model of transformers first": (
        "import telechat\nfrom transformers.models.llama.modeling_llama import LlamaAttention\nfrom transformers import {auto}"
    ),
    "module of transformers first": "import transformers\nimport telechat\n{auto} = transformers.{auto}",
}


@pytest.mark.parametrize(
    ("order", "auto"),
    [
        ("telechat first", "AutoModelForCausalLM"),
        ("a model of transformers first", "AutoModelForCausalLM"),
        ("telechat first", "AutoTokenizer"),
        pytest.param("transformers first", "AutoModelForCausalLM", marks=pytest.mark.slow),
        pytest.param("module of transformers first", "AutoModelForCausalLM", marks=pytest.mark.slow),
        pytest.param("telechat first", "AutoConfig", marks=pytest.mark.slow),
        pytest.param("a model of transformers first", "AutoConfig", marks=pytest.mark.slow),
        pytest.param("a model of transformers first", "AutoTokenizer", marks=pytest.mark.slow),
    ],
)
def test_one_line_is_enough(tmp_path, order, auto):
    folder = (telechat25 if auto == "AutoTokenizer" else telechat3_coder)(tmp_path / "model")
    load = f"{auto}.from_pretrained({str(folder)!r}, trust_remote_code=True)"
    program = ORDERS[order].format(auto=auto) + f"\nprint(type({load}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-1500:]
    assert "telechat.models" in done.stdout


def test_it_does_not_import_transformers_or_torch():
    program = "import sys, telechat; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("present", [("cuda", "npu"), ("npu", "mps"), ("mps",), ()])
def test_the_best_device_is_chosen(monkeypatch, present):
    import types

    import torch

    from telechat.models.loading import best_device

    for name in ("cuda", "npu", "mps"):
        monkeypatch.setattr(torch, name, types.SimpleNamespace(is_available=lambda name=name: name in present), raising=False)
    assert best_device() == (*present, "cpu")[0]
