"""llama.cpp computes with our GGUF file what the model computes: it is an independent judge of both."""

from __future__ import annotations

import pytest
import torch

from telechat.bench.llama_cpp import LlamaCpp, is_installed, write_gguf
from telechat.core.errors import UserError

pytestmark = pytest.mark.skipif(not is_installed(), reason="gguf and xllamacpp (the bench extra) are not installed")


@pytest.fixture
def plain(model):
    """The tiny model without rotary scaling."""
    model.config.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
    return type(model)(model.config).eval().requires_grad_(False)


@pytest.mark.parametrize("eight_bits", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_log_probabilities_are_those_of_the_model(plain, tied, eight_bits):
    plain.config.tie_word_embeddings = tied
    torch.manual_seed(0)
    model = type(plain)(plain.config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.mul_(4)
    prompt = torch.randint(5, len(model.lm_head.weight), (1, 40))
    server = LlamaCpp(model, 2, 64, eight_bits)
    try:
        first, second = server.complete_all([prompt[0].tolist(), prompt[0, :17].tolist()], 1)
        answer = server.complete(prompt[0].tolist(), 1, logprobs=5)
    finally:
        server.close()
    assert first["usage"]["completion_tokens"] == second["usage"]["completion_tokens"] == 1
    likeliest = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    expected = model(prompt).logits[0, -1].log_softmax(-1)
    found = torch.tensor([choice["logprob"] for choice in likeliest])
    torch.testing.assert_close(
        found, expected[[choice["id"] for choice in likeliest]], atol=0.05 if eight_bits else 3e-3, rtol=0
    )


def test_scaled_positions_are_refused(plain, tmp_path):
    plain.config.rope_parameters = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}
    with pytest.raises(UserError, match="rotary scaling"):
        write_gguf(plain, tmp_path / "x.gguf")
