"""Small random models of both families, for tests that state how any decoder of transformers behaves."""

from __future__ import annotations

from typing import Any

import torch

from telechat.models.configuration import Telechat3Config, TelechatConfig
from telechat.models.telechat2 import TelechatForCausalLM
from telechat.models.telechat3 import Telechat3ForCausalLM

VOCABULARY = 128
PAD = 3


def telechat2(**changes: Any) -> TelechatForCausalLM:
    """A TeleChat2 whose biases are not zero."""
    sizes = dict(
        vocab_size=VOCABULARY, hidden_size=64, n_layer=2, n_head=4, num_key_value_heads=2, ffn_hidden_size=96,
        training_seqlen=64, base_seqlen=64, seq_length=256, initializer_range=0.2,
    )  # fmt: skip
    return _woken(TelechatForCausalLM(TelechatConfig(**{**sizes, **changes})))


def telechat3(**changes: Any) -> Telechat3ForCausalLM:
    """A TeleChat3 with the published kind of rotary scaling."""
    scaling = {"rope_type": "telechat3-yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    sizes = dict(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, rope_theta=1e6, rope_scaling=scaling, pad_token_id=PAD,
        initializer_range=0.2,
    )  # fmt: skip
    return _woken(Telechat3ForCausalLM(Telechat3Config(**{**sizes, **changes})))


def _woken(model: Any) -> Any:
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if name.endswith("norm.weight"):
                parameter.copy_(1 + 0.1 * torch.randn(parameter.shape, generator=draw))
            else:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


FAMILY = {"telechat2": telechat2, "telechat3": telechat3}


def random_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    """Token ids above the special ones."""
    return torch.randint(8, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))
