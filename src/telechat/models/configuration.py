"""The configurations of the family, as checkpoints hold them.

Apart from the models, because a configuration can be registered at any moment and a model cannot: the Auto classes of
configurations are imported in the middle of the import of transformers' own models.

TeleChat3's published configuration names its rotary scaling `telechat3-yarn`: YaRN in which the attention temperature is
0.07·ln(factor) + 1 in place of YaRN's 0.1·ln(factor) + 1 (vLLM's `transformers_utils/config.py` and PR #56446).
The configuration is normalised on reading to `yarn` with an explicit `attention_factor`, so that Llama code,
vLLM and converters work unchanged.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from transformers import AutoConfig, LlamaConfig, PreTrainedConfig

from telechat.models.auto import register_models
from telechat.models.first_generation import TELECHAT1_VOCABULARY

YARN_TEMPERATURE = 0.07


def normalise_rope(parameters: dict[str, Any]) -> dict[str, Any]:
    """`telechat3-yarn` as plain `yarn` with its attention factor written out; anything else unchanged."""
    kind = parameters.get("rope_type", parameters.get("type"))
    if kind != "telechat3-yarn":
        return parameters
    out = {key: value for key, value in parameters.items() if key != "type"}
    out["rope_type"] = "yarn"
    factor = out.get("factor")
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or factor <= 0:
        raise ValueError(f"rotary scaling telechat3-yarn: factor is {factor!r}; a positive number is needed")
    if out.get("attention_factor") is None:
        out["attention_factor"] = YARN_TEMPERATURE * math.log(factor) + 1.0
    return out


def need_heads(name: str, heads: Any) -> None:
    """Raise `ValueError` for what is no number of attention heads."""
    if not isinstance(heads, int) or heads < 1:
        raise ValueError(f"{name} is {heads!r}; a model has at least one attention head")


class TelechatConfig(PreTrainedConfig):
    """Configuration of TeleChat2 and TeleChat2.5 (3B, 7B, 35B, 115B), with the published field names.

    `training_seqlen` is the length that the model was trained at, `base_seqlen` the one that the rotary base was made
    for. `ntk_length`, when given, declares the length that is served: the rotary base and its factor are then computed
    for it once, so that cached keys stay consistent (the published code computes them anew from the present length,
    which makes step-by-step decoding differ from one forward). Without it the rotary embedding is plain at any length.
    """

    model_type = "telechat"
    attribute_map: ClassVar = {
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "ffn_hidden_size",
        "rms_norm_eps": "layer_norm_epsilon",
    }
    base_model_tp_plan: ClassVar = LlamaConfig.base_model_tp_plan  # the modules have Llama's names
    base_model_pp_plan: ClassVar = LlamaConfig.base_model_pp_plan

    vocab_size: int = TELECHAT1_VOCABULARY  # the published class default
    hidden_size: int = 4096
    n_layer: int = 30
    n_head: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    ffn_hidden_size: int = 12288
    hidden_act: str = "silu"
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    attention_dropout: float | int = 0.0
    attention_bias: bool = False
    mlp_bias: bool = False
    embed_layernorm: bool = False
    training_seqlen: int = 8192
    base_seqlen: int = 8192
    seq_length: int = 8192
    max_position_embeddings: int | None = None
    ntk_length: int | None = None
    rope_parameters: dict[str, Any] | None = None
    use_cache: bool = True
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    pad_token_id: int | None = 3
    tie_word_embeddings: bool = False
    pretraining_tp: int | None = 1

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in what follows from other fields."""
        register_models()
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.n_head
        if self.head_dim is None:
            need_heads("n_head", self.n_head)
            self.head_dim = self.hidden_size // self.n_head
        if self.max_position_embeddings is None:
            self.max_position_embeddings = self.ntk_length or self.seq_length
        _one_scaling(self.ntk_length, kwargs.get("rope_scaling") or self.rope_parameters)
        super().__post_init__(**kwargs)


def _one_scaling(ntk_length: int | None, rope: Any) -> None:
    """Raise `ValueError` when `ntk_length` and a rotary scaling would both stretch the positions. A "dynamic" one with
    factor 1, which the published 7B-32K names, stretches nothing."""
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else "default"
    if ntk_length is None or kind == "default" or (kind == "dynamic" and rope.get("factor", 1.0) == 1.0):
        return
    raise ValueError(f"ntk_length {ntk_length} and rotary scaling {kind!r} cannot both apply; leave one out")


class Telechat3Config(LlamaConfig):
    """Configuration of TeleChat3 and TeleChat3-Coder; the fields of Llama, `model_type` "telechat3"."""

    model_type = "telechat3"

    def __post_init__(self, **kwargs: Any) -> None:
        """Normalise the rotary scaling before Llama reads it."""
        register_models()
        need_heads("num_attention_heads", self.num_attention_heads)
        scaling = kwargs.get("rope_scaling")
        if scaling:
            if not isinstance(scaling, dict):
                raise ValueError(f"rope_scaling is {scaling!r}; an object is needed, or null")
            kwargs["rope_scaling"] = normalise_rope(scaling)
        given: Any = getattr(self, "rope_parameters", None)
        if given:
            self.rope_parameters = normalise_rope(dict(given))
        super().__post_init__(**kwargs)


def context_of(config: Any) -> int:
    """Tokens that a model can see: what its configuration declares, but no more than its rotary scaling reaches.

    32768 for the published 36B models (8192 × 4), whatever `max_position_embeddings` says: positions past it were
    never trained (vLLM #55116 served 131072 of them).
    """
    declared = int(config.max_position_embeddings)
    rope = getattr(config, "rope_parameters", None) or {}
    original, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
    if rope.get("rope_type") == "yarn" and original and factor:
        return min(declared, int(original * factor))
    return declared


def register() -> None:
    """Make `AutoConfig` know the family; may be called any number of times."""
    AutoConfig.register("telechat", TelechatConfig, exist_ok=True)
    AutoConfig.register("telechat3", Telechat3Config, exist_ok=True)


register()
