"""Sampling presets of the model cards: which settings suit which work."""

from __future__ import annotations

from dataclasses import dataclass

from telechat.chat.formats import Format
from telechat.core.errors import UserError


@dataclass(frozen=True)
class Preset:
    """How to sample for one kind of work."""

    temperature: float
    top_p: float = 1.0
    repetition_penalty: float = 1.0


PRESETS = {
    # TeleChat3-Coder's card, "推理参数选择": temperature 0.8–1.0 for code, 0.6 for agents, both top_p 0.95.
    "code": Preset(0.9, 0.95),
    "agent": Preset(0.6, 0.95),
    # TeleChat3's repository, on inference for evaluation: temperature 1.1–1.2 for mathematics; 0.6 and a repetition
    # penalty of 1.05 for everything else.
    "math": Preset(1.1, 0.95),
    "general": Preset(0.6, 0.95, 1.05),
}

CARD_OF_TELECHAT25 = Preset(0.0, 1.0, 1.01)
"""TeleChat2.5's card gives one setting, for everything."""


def get_preset(name: str, fmt: Format) -> Preset:
    """The preset `name` for models of chat format `fmt`; raises `UserError` with the known names."""
    if name not in PRESETS:
        raise UserError(f"preset {name!r}: use one of {', '.join(PRESETS)}")
    return CARD_OF_TELECHAT25 if fmt.name == "telechat2.5" else PRESETS[name]
