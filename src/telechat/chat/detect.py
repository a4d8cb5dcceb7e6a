"""Which of the family's formats a checkpoint was made for, by what its own chat template shows."""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError

from telechat.chat.formats import DEFAULT_SYSTEM, FORMATS, REQUIRED_WORDS, THINK, Format, get_format
from telechat.chat.render import Renderer, render_text
from telechat.chat.template_render import TemplateRenderer
from telechat.core.types import Message

DEFAULT_FORMAT = "telechat3-coder"
_PROBE = Message("user", "hi")


def known_format(tokenizer: Any) -> Format | None:
    """The format that says what the checkpoint's chat template says; None for a template of another family, or none.

    A template that says it in other words counts by the generation prompt it ends in.
    """
    shown = _probe(tokenizer)
    for fmt in FORMATS.values():
        if shown == render_text(fmt, [_PROBE]):
            return fmt
    for name in ("telechat3-coder", "t1" if DEFAULT_SYSTEM in shown else "telechat3", "telechat2.5"):
        if shown.endswith(get_format(name).generation_prompt):
            return get_format(name)
    return None


def format_of(tokenizer: Any) -> Format:
    """The chat format that a checkpoint was made for.

    Without a template that can be used, a vocabulary that cannot think is of TeleChat2.5, and any other gets the format
    of TeleChat3-Coder.
    """
    known = known_format(tokenizer)
    return known or get_format(DEFAULT_FORMAT if THINK in tokenizer.get_vocab() else "telechat2.5")


def renderer_of(tokenizer: Any, fmt: Format | None = None) -> Renderer:
    """What renders for a checkpoint's tokenizer: a format of the family, or the template of a model of another one."""
    if fmt is not None or is_of_the_family(tokenizer):
        return Renderer(tokenizer, fmt or format_of(tokenizer))
    return TemplateRenderer(tokenizer)


def is_of_the_family(tokenizer: Any) -> bool:
    """Whether a tokenizer has the words that the family's formats need."""
    return set(REQUIRED_WORDS) <= tokenizer.get_vocab().keys()


def same_template(tokenizer: Any, fmt: Format) -> bool:
    """Whether the checkpoint's own template shows a question as `fmt` does."""
    return _probe(tokenizer) == render_text(fmt, [_PROBE])


def _probe(tokenizer: Any) -> str:
    """One question as the checkpoint's own template shows it; empty when there is no template that can show it."""
    if not isinstance(tokenizer.chat_template, str):
        return ""
    try:
        return str(tokenizer.apply_chat_template([_PROBE.to_dict()], tokenize=False, add_generation_prompt=True))
    except (TemplateError, TypeError, ValueError, LookupError):
        return ""
