"""TeleChat2 and TeleChat2.5 in SGLang: Llama with two more biases, under the published names of its tensors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from sglang.srt.layers.linear import RowParallelLinear
from sglang.srt.models.llama import LlamaForCausalLM
from sglang.srt.utils import set_weight_attrs
from torch import nn

from telechat.models.first_generation import REFUSAL, TELECHAT1_VOCABULARY
from telechat.models.telechat2 import FUSED, RENAMED, SplitKeyValue, ntk_scaling


def give_bias(linear: RowParallelLinear) -> None:
    """A bias as the layer's constructor makes one; `LlamaForCausalLM` builds both of these layers without."""
    linear.with_bias = True
    linear.bias = nn.Parameter(torch.zeros(linear.output_size, dtype=linear.params_dtype), requires_grad=False)
    set_weight_attrs(linear.bias, {"output_dim": 0, "weight_loader": linear.weight_loader})


def llama_weights(weights: Iterable[tuple[str, torch.Tensor]], config: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Published tensors under Llama's names, the key_value matrix as two (see `telechat.models.telechat2`).

    Raises `ValueError` for a key_value matrix that is quantised: its rows cannot be told apart here.
    """
    split = SplitKeyValue()
    for published, tensor in weights:
        name = published
        for source, target in RENAMED.items():
            name = name.replace(source, target)
        if ".self_attention.key_value." not in name:
            yield name, tensor
        elif name.endswith(FUSED[0]):
            targets = [name.replace(FUSED[0], target) for target in FUSED[1]]
            yield from split.convert({name: tensor}, [name], targets, config).items()
        else:
            raise ValueError(f"{published}: SGLang runs TeleChat2 checkpoints whose key_value matrices are not quantised")


def with_alpha(config: Any, alpha: float) -> Any:
    """The configuration with α on its rotary base, in SGLang's words: base·α^(d / (d − 2))."""
    if alpha == 1.0:
        return config
    config = copy.copy(config)
    config.rope_parameters = {**config.rope_parameters, "rope_type": "dynamic", "alpha": alpha}
    return config


class TelechatForCausalLM(LlamaForCausalLM):
    """One of the four published spellings, and the implementation of all."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        if config.vocab_size == TELECHAT1_VOCABULARY:
            raise ValueError(f"this checkpoint {REFUSAL}")
        alpha, factor = ntk_scaling(config) if config.ntk_length is not None else (1.0, 1.0)
        super().__init__(with_alpha(config, alpha), *args, **kwargs)
        for layer in self.model.layers[self.model.start_layer : self.model.end_layer]:
            give_bias(layer.self_attn.o_proj)
            give_bias(layer.mlp.down_proj)
            layer.self_attn.attn.scaling *= factor**2  # the factor on cosine and sine of queries and of keys

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> Any:
        """Load tensors of the published layout."""
        return super().load_weights(llama_weights(weights, self.config))


class TeleChatForCausalLM(TelechatForCausalLM):
    """Another published spelling."""


class Telechat2ForCausalLM(TelechatForCausalLM):
    """Another published spelling."""


class TeleChat2ForCausalLM(TelechatForCausalLM):
    """Another published spelling."""


EntryClass = [TelechatForCausalLM, TeleChatForCausalLM, Telechat2ForCausalLM, TeleChat2ForCausalLM]
