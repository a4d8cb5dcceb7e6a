"""TeleChat1: it shares `model_type` "telechat" with TeleChat2 and TeleChat2.5, and is refused wherever it turns up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TELECHAT1_VOCABULARY = 160256
REFUSAL = (
    f"is TeleChat1 (vocabulary {TELECHAT1_VOCABULARY}): it shares model_type 'telechat' with TeleChat2 and TeleChat2.5 but is "
    f"another network with another tokenizer, which telechat does not run"
)


def is_telechat1(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is TeleChat1's: 160256 is also what the published class takes when it says nothing."""
    return config.get("model_type") == "telechat" and config.get("vocab_size", TELECHAT1_VOCABULARY) == TELECHAT1_VOCABULARY
