"""Conversations for models of other families, by their own chat templates; for serving, not for training.

Calls are read as JSON inside `<tool_call>`, as Hermes, Qwen and many others write them, and thinking between `<think>`
and `</think>`. What people wrote never becomes a special token here either: such words are taken out before the
template is rendered, and put back as text.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from telechat.chat.formats import CALL, CALL_END, OTHER_FAMILY, THINK, THINK_END, Format
from telechat.chat.render import Rendered, Renderer, text_backend
from telechat.chat.segments import split_thinking
from telechat.core.errors import UserError
from telechat.core.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_MARKED = re.compile(r"[^\w\s]")
_PROBE = Message("user", "hi")


class TemplateRenderer(Renderer):
    """Renders with the tokenizer's own chat template. Raises `UserError` where there is none, or no word that ends a
    turn. A conversation cannot be extended token for token: what a foreign template drops is not known."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if not isinstance(tokenizer.chat_template, str):
            raise UserError(
                "the tokenizer is of another family and has no (single) chat template: give one in chat_template.jinja"
            )
        if tokenizer.eos_token_id is None:
            raise UserError("the tokenizer names no eos_token: a turn would never end")
        self.tokenizer = tokenizer
        self.end_id = int(tokenizer.eos_token_id)
        vocabulary = tokenizer.get_vocab()
        spoken = (THINK, THINK_END, CALL, CALL_END)
        self.control_ids = {word: vocabulary[word] for word in spoken if word in vocabulary}
        self._words = {number: word for word, number in self.control_ids.items()}
        special = {token.content for token in tokenizer.added_tokens_decoder.values() if _controls(token)}
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)")
        self._backend = text_backend(tokenizer, special)
        self._cached = lru_cache(maxsize=4096)(self._encode)
        opened = self._text([_PROBE.to_dict()], (), True, True, False)
        self.format = _format(thinks=opened.rstrip().endswith(THINK))

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        clear_thinking: bool = True,
        continue_final_message: bool = False,
        as_generated: bool = False,
    ) -> Rendered:
        """Text and ids of a conversation; the mask is all 0. Raises `UserError` with the template's own complaint."""
        if not messages:
            raise UserError("the conversation is empty: give at least one message")
        hidden = _Hidden(self._special)
        shown = [hidden.take_out(_plain(message)) for message in messages]
        add = add_generation_prompt and not continue_final_message
        text = self._text(shown, hidden.take_out(list(tools)), add, clear_thinking, continue_final_message)
        ids: list[int] = []
        before = ""  # the text right before a part, at a word that somebody typed
        for part, typed in hidden.parts(text):
            control = None if typed else self._special.search(part)
            seam = len(part) if control is None else control.start()
            head = part[:seam] if typed or before else ""
            ids += self._encode_behind(before, head) if head else ()
            rest = part[len(head) :]
            ids += self.tokenizer(rest, add_special_tokens=False)["input_ids"] if rest else ()
            before = head if not rest else self._special.split(rest)[-1]
        return Rendered("".join(part for part, _ in hidden.parts(text)), ids, [0] * len(ids))

    def extend(self, *arguments: Any, **more: Any) -> Rendered:
        """There is no such thing here: render the whole conversation."""
        raise UserError("a model of another family is served, not trained: its conversations are rendered as a whole")

    def _text(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], add: bool, clear_thinking: bool, go_on: bool
    ) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages),
                    tools=list(tools) or None,
                    tokenize=False,
                    add_generation_prompt=add,
                    continue_final_message=go_on,
                    clear_thinking=clear_thinking,
                )
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise UserError(f"the model's chat template cannot show this: {why}") from None


def _controls(token: Any) -> bool:
    """Whether an added token steers the model: many tokenizers call role markers ordinary. Plain words and runs of
    spaces do not."""
    return bool(token.content.strip()) and (token.special or _MARKED.search(token.content) is not None)


class _Hidden:
    """Special words that people typed, taken out of a conversation under names that nobody can guess."""

    def __init__(self, special: re.Pattern[str]) -> None:
        self._special = special
        self._mark = f"zq{secrets.token_hex(8)}n"
        self._words: list[str] = []
        self._place = re.compile(rf"{self._mark}(\d+)q")

    def take_out(self, value: Any) -> Any:
        """`value`, JSON data, without special words in its texts."""
        if isinstance(value, str):
            return self._special.sub(self._replace, value)
        if isinstance(value, Mapping):
            return {self.take_out(key): self.take_out(item) for key, item in value.items()}
        return [self.take_out(item) for item in value] if isinstance(value, list) else value

    def _replace(self, match: re.Match[str]) -> str:
        self._words.append(match.group())
        return f"{self._mark}{len(self._words) - 1}q"

    def parts(self, text: str) -> list[tuple[str, bool]]:
        """The rendered text in parts, with whether somebody typed a special word there."""
        pieces = self._place.split(text)
        found = [(self._words[int(piece)], True) if i % 2 else (piece, False) for i, piece in enumerate(pieces)]
        return [(piece, typed) for piece, typed in found if piece]


def _plain(message: Message) -> dict[str, Any]:
    """A message as templates expect it: thinking apart, content a text, arguments an object."""
    out = {key: value for key, value in message.to_dict().items() if value is not None}
    if message.role == "assistant":
        thinking, content = split_thinking(message)
        out |= {"content": content, **({"reasoning_content": thinking} if thinking else {})}
    return {"content": "", **out}


def _format(thinks: bool) -> Format:
    return Format(
        name=OTHER_FAMILY,
        thinking="current" if thinks else "none",
        calls="json",
        default_system="",
        system_always=False,
        system_end="",
        turn_end="",
        generation_prompt="",
        tools_head="",
        tools_tail="",
    )
