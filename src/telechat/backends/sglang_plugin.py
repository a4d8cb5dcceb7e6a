"""The entry point for SGLang (group `sglang.srt.plugins`): parsers, configurations, tokenizers and the TeleChat3 class."""

from __future__ import annotations

import os

MODELS = "telechat.backends.sglang_models"


def register() -> None:
    """Make SGLang know the family; it calls this before it reads its command line, in every process."""
    from sglang.srt.function_call.function_call_parser import FunctionCallParser
    from sglang.srt.parser.reasoning_parser import ReasoningParser

    import telechat.models.telechat2
    import telechat.models.telechat3
    import telechat.models.tokenization  # noqa: F401  (importing them registers configurations and tokenizers)
    from telechat.backends.sglang_parsers import TelechatCoderDetector, TelechatDetector, TelechatReasoningDetector

    FunctionCallParser.ToolCallParserEnum |= {
        "telechat3": TelechatCoderDetector,
        "telechat3_coder": TelechatCoderDetector,
        "telechat2.5": TelechatDetector,
    }
    ReasoningParser.DetectorMap |= {"telechat3": TelechatReasoningDetector, "telechat3_coder": TelechatReasoningDetector}
    # Its model registry is read in processes that know only the environment; importing it here would need a GPU.
    os.environ.setdefault("SGLANG_EXTERNAL_MODEL_PACKAGE", MODELS)
