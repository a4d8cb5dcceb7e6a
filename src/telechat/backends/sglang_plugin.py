"""The entry point for SGLang (group `sglang.srt.plugins`): parsers, configurations, tokenizers and the TeleChat3 class."""

from __future__ import annotations

import os
from typing import Any

MODELS = "telechat.backends.sglang_models"
REASONING_PARSERS = ("telechat3", "telechat3_coder")


def keep_thinking_tags(server: Any, request: Any, *_: Any) -> None:
    """Before SGLang reads a chat: keep `</think>` in the text, without which nothing tells thinking from answer.

    SGLang drops special tokens unless tools are given, and has a list of its own parsers that need them."""
    if server.reasoning_parser in REASONING_PARSERS:
        request.skip_special_tokens = False


def register() -> None:
    """Make SGLang know the family; it calls this before it reads its command line, in every process."""
    from sglang.srt.function_call.function_call_parser import FunctionCallParser
    from sglang.srt.parser.reasoning_parser import ReasoningParser
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    import telechat.models.telechat2
    import telechat.models.telechat3
    import telechat.models.tokenization  # noqa: F401  (importing them registers configurations and tokenizers)
    from telechat.backends.sglang_parsers import TelechatCoderDetector, TelechatDetector, TelechatReasoningDetector

    FunctionCallParser.ToolCallParserEnum |= {
        "telechat3": TelechatCoderDetector,
        "telechat3_coder": TelechatCoderDetector,
        "telechat2.5": TelechatDetector,
    }
    ReasoningParser.DetectorMap |= dict.fromkeys(REASONING_PARSERS, TelechatReasoningDetector)
    chat = "sglang.srt.entrypoints.openai.serving_chat.OpenAIServingChat._process_messages"
    HookRegistry.register(chat, keep_thinking_tags, HookType.BEFORE)
    # Its model registry is read in processes that know only the environment; importing it here would need a GPU.
    os.environ.setdefault("SGLANG_EXTERNAL_MODEL_PACKAGE", MODELS)
