"""TeleChat3: a Llama decoder whose rotary scaling is YaRN with its own temperature coefficient.

The published configuration names the scaling `telechat3-yarn`: YaRN in which the attention temperature is
0.07·ln(factor) + 1 in place of YaRN's 0.1·ln(factor) + 1 (vLLM's `transformers_utils/config.py` and PR #56446).
The configuration is normalised on reading to `yarn` with an explicit `attention_factor`, so that Llama code,
vLLM and converters work unchanged.
"""

from __future__ import annotations

import math
from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
)

YARN_TEMPERATURE = 0.07


def normalise_rope(parameters: dict[str, Any]) -> dict[str, Any]:
    """`telechat3-yarn` as plain `yarn` with its attention factor written out; anything else unchanged."""
    kind = parameters.get("rope_type", parameters.get("type"))
    if kind != "telechat3-yarn":
        return parameters
    out = {key: value for key, value in parameters.items() if key != "type"}
    out["rope_type"] = "yarn"
    out.setdefault("attention_factor", YARN_TEMPERATURE * math.log(out["factor"]) + 1.0)
    return out


class Telechat3Config(LlamaConfig):
    """Configuration of TeleChat3 and TeleChat3-Coder; the fields of Llama, `model_type` "telechat3"."""

    model_type = "telechat3"

    def __post_init__(self, **kwargs: Any) -> None:
        """Normalise the rotary scaling before Llama reads it."""
        if kwargs.get("rope_scaling"):
            kwargs["rope_scaling"] = normalise_rope(dict(kwargs["rope_scaling"]))
        given: Any = getattr(self, "rope_parameters", None)
        if given:
            self.rope_parameters = normalise_rope(dict(given))
        super().__post_init__(**kwargs)


class Telechat3Model(LlamaModel):
    """The decoder without an output layer."""

    config_class = Telechat3Config
    config: Telechat3Config


class Telechat3ForCausalLM(LlamaForCausalLM):
    """TeleChat3 as a transformers-native causal language model (tensor names are Llama's)."""

    config_class = Telechat3Config
    config: Telechat3Config


class Telechat3ForSequenceClassification(LlamaForSequenceClassification):
    """TeleChat3 with a score head: the reward model."""

    config_class = Telechat3Config
    config: Telechat3Config


def register() -> None:
    """Make the Auto classes know TeleChat3; may be called any number of times."""
    AutoConfig.register("telechat3", Telechat3Config, exist_ok=True)
    AutoModel.register(Telechat3Config, Telechat3Model, exist_ok=True)
    AutoModelForCausalLM.register(Telechat3Config, Telechat3ForCausalLM, exist_ok=True)
    AutoModelForSequenceClassification.register(Telechat3Config, Telechat3ForSequenceClassification, exist_ok=True)


register()
