"""TeleChat1: it shares `model_type` "telechat" with TeleChat2 and TeleChat2.5, and is refused wherever it turns up."""

from __future__ import annotations

TELECHAT1_VOCABULARY = 160256
REFUSAL = (
    f"is TeleChat1 (vocabulary {TELECHAT1_VOCABULARY}): it shares model_type 'telechat' with TeleChat2 and TeleChat2.5 but is "
    f"another network with another tokenizer, which telechat does not run"
)
