"""New models: a recipe's model section as a TeleChat3 configuration with fresh weights."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerFast

from telechat.core.recipe import ModelConfig
from telechat.models.configuration import Telechat3Config
from telechat.models.telechat3 import Telechat3ForCausalLM


def telechat3_config(config: ModelConfig, tokenizer: PreTrainedTokenizerFast) -> Telechat3Config:
    """The TeleChat3 configuration of `config` for the vocabulary of `tokenizer`."""
    rope = None
    if config.rope_factor > 1:
        original = int(config.context / config.rope_factor)
        rope = {"rope_type": "telechat3-yarn", "factor": config.rope_factor, "original_max_position_embeddings": original}
        rope |= {"beta_fast": 32, "beta_slow": 1}
    return Telechat3Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=config.context,
        rope_theta=config.rope_theta,
        rope_scaling=rope,
        tie_word_embeddings=config.tie_embeddings,
        initializer_range=config.initializer_range,
        rms_norm_eps=1e-5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def new_model(config: ModelConfig, tokenizer: PreTrainedTokenizerFast, seed: int) -> Telechat3ForCausalLM:
    """A TeleChat3 with random weights that are a function of `seed`."""
    torch.manual_seed(seed)
    return Telechat3ForCausalLM(telechat3_config(config, tokenizer))
