"""TeleChat3 in SGLang: its tensors are Llama's; the temperature of its YaRN is spelled as SGLang reads it."""

from __future__ import annotations

import copy
import math
from typing import Any

from sglang.srt.models.llama import LlamaForCausalLM


def with_attention_factor(config: Any) -> Any:
    """The configuration with `attn_factor` beside YaRN's `attention_factor`.

    SGLang passes over `attention_factor`, the whole factor on cosine and sine, and multiplies its own
    0.1·ln(factor) + 1 by `attn_factor` (`layers/rotary_embedding/factory.py` and `yarn.py`).
    """
    rope = config.rope_parameters or {}
    wanted, factor = rope.get("attention_factor"), rope.get("factor")
    if rope.get("rope_type") != "yarn" or wanted is None or not factor or factor <= 1:
        return config
    config = copy.copy(config)
    config.rope_parameters = {**rope, "attn_factor": wanted / (0.1 * math.log(factor) + 1.0)}
    return config


class Telechat3ForCausalLM(LlamaForCausalLM):
    """As published: `architectures: ["Telechat3ForCausalLM"]`."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(with_attention_factor(config), *args, **kwargs)


EntryClass = Telechat3ForCausalLM
