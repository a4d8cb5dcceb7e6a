"""The models of the benches: TeleChat3 of any size with random weights."""

from __future__ import annotations

import torch

from telechat.models.configuration import Telechat3Config
from telechat.models.telechat3 import Telechat3ForCausalLM


def random_model(
    hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, vocabulary: int, context: int
) -> Telechat3ForCausalLM:
    """A model of these sizes; its input and output embeddings are one matrix. Equal sizes give equal weights."""
    torch.manual_seed(0)
    config = Telechat3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
    )
    return Telechat3ForCausalLM(config)
