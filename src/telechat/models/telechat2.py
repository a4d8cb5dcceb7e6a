"""TeleChat2 and TeleChat2.5: a Llama decoder with biases on two projections, under its published names.

What differs from Llama (facts of the published `modeling_telechat.py`): `dense` and `down_proj` have a bias, keys and
values come from one matrix whose rows alternate per head (k0 v0 k1 v1 …), every tensor has a name of its own, and past
the training length the rotary base and a factor on both cosine and sine depend on the whole length. Inside this
package the tensors have Llama's names, so that everything made for Llama works; checkpoints are read and written in
the published layout.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    LlamaPreTrainedModel,
)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter, WeightRenaming
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaDecoderLayer,
    LlamaMLP,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)

from telechat.models.configuration import TelechatConfig
from telechat.models.first_generation import REFUSAL, TELECHAT1_VOCABULARY


def ntk_scaling(config: TelechatConfig) -> tuple[float, float]:
    """(α on the rotary base, factor on cosine and sine) for `config.ntk_length`; (1, 1) up to the training length.

    α = max(2^⌈log₂(L / base) + 1⌉ − 1, 1) with L = max(length, training length); the factor is 0.1·ln(L / training
    length) + 1 past the training length (published `modeling_telechat.py`, lines 82–140).
    """
    length = max(config.ntk_length or 0, config.training_seqlen)
    alpha = max(2.0 ** math.ceil(math.log2(length / config.base_seqlen) + 1) - 1, 1.0)
    factor = 1.0 if length <= config.training_seqlen else 0.1 * math.log(length / config.training_seqlen) + 1.0
    return alpha, factor


class TelechatRotaryEmbedding(LlamaRotaryEmbedding):
    """Llama's rotary embedding with TeleChat2's base and factor for a declared length."""

    @staticmethod
    def compute_default_rope_parameters(config: Any, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, float]:
        """Inverse frequencies (head_dim / 2,) and the factor on cosine and sine."""
        alpha, factor = ntk_scaling(config) if config.ntk_length is not None else (1.0, 1.0)
        dim = config.head_dim
        base = config.rope_parameters["rope_theta"] * alpha ** (dim / (dim - 2))
        return 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float) / dim), factor


class TelechatAttention(LlamaAttention):
    """Llama's attention with a bias on the output projection."""

    def __init__(self, config: TelechatConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.o_proj = nn.Linear(config.n_head * self.head_dim, config.hidden_size, bias=True)


class TelechatMLP(LlamaMLP):
    """Llama's feed-forward layer with a bias on the down projection."""

    def __init__(self, config: TelechatConfig) -> None:
        super().__init__(config)
        self.down_proj = nn.Linear(self.intermediate_size, self.hidden_size, bias=True)


class TelechatDecoderLayer(LlamaDecoderLayer):
    """A decoder layer of the two."""

    def __init__(self, config: TelechatConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.self_attn = TelechatAttention(config, layer_idx)
        self.mlp = TelechatMLP(config)


class TelechatPreTrainedModel(LlamaPreTrainedModel):
    """What the TeleChat2 models have in common; refuses checkpoints of the first TeleChat."""

    config_class = TelechatConfig
    config: TelechatConfig
    _no_split_modules: ClassVar = ["TelechatDecoderLayer"]
    _can_record_outputs: ClassVar = {"hidden_states": TelechatDecoderLayer, "attentions": TelechatAttention}

    def __init__(self, config: TelechatConfig, *args: Any, **kwargs: Any) -> None:
        if config.vocab_size == TELECHAT1_VOCABULARY:
            raise ValueError(f"this checkpoint {REFUSAL}")
        if config.embed_layernorm:
            raise ValueError("embed_layernorm is true: no published TeleChat2 checkpoint uses it, and telechat does not")
        LlamaPreTrainedModel.__init__(self, config, *args, **kwargs)


class TelechatModel(LlamaModel, TelechatPreTrainedModel):
    """The decoder without an output layer."""

    config_class = TelechatConfig
    config: TelechatConfig

    def __init__(self, config: TelechatConfig) -> None:
        TelechatPreTrainedModel.__init__(self, config)  # not Llama's: the layers are others
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(TelechatDecoderLayer(config, i) for i in range(config.n_layer))
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.rotary_emb = TelechatRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()


class TelechatForCausalLM(LlamaForCausalLM, TelechatPreTrainedModel):
    """TeleChat2 and TeleChat2.5 as a transformers-native causal language model."""

    config_class = TelechatConfig
    config: TelechatConfig

    def __init__(self, config: TelechatConfig) -> None:
        TelechatPreTrainedModel.__init__(self, config)
        self.model = TelechatModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


class TelechatForSequenceClassification(LlamaForSequenceClassification, TelechatPreTrainedModel):
    """TeleChat2 with a score head: the reward model."""

    config_class = TelechatConfig
    config: TelechatConfig


class SplitKeyValue(ConversionOps):
    """The published key_value matrix, rows k0 v0 k1 v1 … by head, as a key matrix and a value matrix."""

    @torch.no_grad()
    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], config: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """(2 × kv_heads × head_dim, hidden) → two of (kv_heads × head_dim, hidden)."""
        (found,) = input_dict.values()
        fused = found[0] if isinstance(found, list) else found
        pairs = fused.view(-1, 2, config.head_dim, fused.shape[-1])
        return {name: pairs[:, i].reshape(-1, fused.shape[-1]) for i, name in enumerate(target_patterns)}

    @property
    def reverse_op(self) -> ConversionOps:
        """Back to the published layout."""
        return JoinKeyValue()


class JoinKeyValue(ConversionOps):
    """A key matrix and a value matrix as the published key_value matrix."""

    @torch.no_grad()
    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], config: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Two of (kv_heads × head_dim, hidden) → (2 × kv_heads × head_dim, hidden)."""
        found = [input_dict[name] for name in source_patterns]
        key, value = (item[0] if isinstance(item, list) else item for item in found)
        heads = [matrix.view(-1, config.head_dim, matrix.shape[-1]) for matrix in (key, value)]
        return {target_patterns[0]: torch.stack(heads, 1).reshape(-1, key.shape[-1])}

    @property
    def reverse_op(self) -> ConversionOps:
        """Back to two matrices."""
        return SplitKeyValue()


# Published name → name in this package.
RENAMED = {
    "transformer.word_embeddings": "model.embed_tokens",
    "transformer.h": "model.layers",
    "transformer.ln_f": "model.norm",
    "self_attention.query": "self_attn.q_proj",
    "self_attention.dense": "self_attn.o_proj",
}
FUSED = ("self_attention.key_value.weight", ["self_attn.k_proj.weight", "self_attn.v_proj.weight"])


def register() -> None:
    """Make the Auto classes of models know TeleChat2, and the layout of its checkpoints; may be called any number of times."""
    AutoModel.register(TelechatConfig, TelechatModel, exist_ok=True)
    AutoModelForCausalLM.register(TelechatConfig, TelechatForCausalLM, exist_ok=True)
    AutoModelForSequenceClassification.register(TelechatConfig, TelechatForSequenceClassification, exist_ok=True)
    mapping = [WeightRenaming(source, target) for source, target in RENAMED.items()]
    mapping.append(WeightConverter(FUSED[0], FUSED[1], [SplitKeyValue()]))
    register_checkpoint_conversion_mapping("telechat", mapping, overwrite=True)


register()
