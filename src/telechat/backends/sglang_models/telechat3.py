"""TeleChat3 in SGLang: its tensors are Llama's, and the configuration already holds plain YaRN."""

from __future__ import annotations

from sglang.srt.models.llama import LlamaForCausalLM


class Telechat3ForCausalLM(LlamaForCausalLM):
    """As published: `architectures: ["Telechat3ForCausalLM"]`."""


EntryClass = Telechat3ForCausalLM
