"""The entry point for vLLM (group `vllm.general_plugins`): architectures, configurations, tokenizers and parsers.

vLLM calls `register` in every process, so it does little and may be called any number of times; the parsers are
imported when they are used.
"""

from __future__ import annotations

PARSERS = "telechat.backends.vllm_parsers"
# Every published spelling that vLLM does not know → what runs it there.
ARCHITECTURES = {
    "Telechat3ForCausalLM": "vllm.model_executor.models.llama:LlamaForCausalLM",
    "TelechatForCausalLM": "vllm.model_executor.models.telechat2:TeleChat2ForCausalLM",
    "TeleChatForCausalLM": "vllm.model_executor.models.telechat2:TeleChat2ForCausalLM",
    "Telechat2ForCausalLM": "vllm.model_executor.models.telechat2:TeleChat2ForCausalLM",
}
TOOL_PARSERS = {
    "telechat3": "TelechatCoderToolParser",
    "telechat3_coder": "TelechatCoderToolParser",
    "telechat2.5": "TelechatToolParser",
}
REASONING_PARSERS = {"telechat3": "TelechatReasoningParser", "telechat3_coder": "TelechatReasoningParser"}


def register() -> None:
    """Make vLLM know the family."""
    from vllm import ModelRegistry
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    import telechat.models.telechat2
    import telechat.models.telechat3
    import telechat.models.tokenization  # noqa: F401  (importing them registers configurations and tokenizers)

    for name, target in ARCHITECTURES.items():
        ModelRegistry.register_model(name, target)
    for name, parser in TOOL_PARSERS.items():
        ToolParserManager.register_lazy_module(name, PARSERS, parser)
    for name, parser in REASONING_PARSERS.items():
        ReasoningParserManager.register_lazy_module(name, PARSERS, parser)
