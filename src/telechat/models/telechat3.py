"""TeleChat3 and TeleChat3-Coder: Llama decoders by another name. What differs lies in the configuration."""

from __future__ import annotations

from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
)

from telechat.models.configuration import Telechat3Config


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
    """Make the Auto classes of models know TeleChat3; may be called any number of times."""
    AutoModel.register(Telechat3Config, Telechat3Model, exist_ok=True)
    AutoModelForCausalLM.register(Telechat3Config, Telechat3ForCausalLM, exist_ok=True)
    AutoModelForSequenceClassification.register(Telechat3Config, Telechat3ForSequenceClassification, exist_ok=True)


register()
