"""Messages to text and to token ids with a loss mask: the one renderer of the package.

Ids come from segments and never from re-reading the rendered string: a control word that somebody typed inside a
message stays text. Generation goes on with `Renderer.extend`, which keeps what was generated token for token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from telechat.chat.formats import CONTROL_WORDS, END, REQUIRED_WORDS, THINK_END, Format
from telechat.chat.segments import Segment, completion_segments, incoming_segments, segments
from telechat.core.errors import UserError
from telechat.core.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_CACHED_TEXTS = 4096
_CACHED_LENGTH = 4096
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Rendered:
    """A conversation as the model reads it. `mask` has the length of `ids`: 1 on tokens that the model generates."""

    text: str
    ids: list[int]
    mask: list[int]


def render_text(
    fmt: Format,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] = (),
    add_generation_prompt: bool = True,
    clear_thinking: bool = True,
    continue_final_message: bool = False,
) -> str:
    """The text of a conversation, equal to that of the format's Jinja template. Needs no tokenizer."""
    parts = segments(fmt, messages, tools, add_generation_prompt, clear_thinking, continue_final_message)
    return "".join([part.text for part in parts])


class Renderer:
    """Renders conversations with one tokenizer in one format.

    `tokenizer` is a fast transformers tokenizer; its state is copied once, so it may be used elsewhere at the same
    time. Ids of control words are found by name. Raises `UserError` when the vocabulary lacks a word that every
    format needs; the other control words are spelled as text where they are missing.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, fmt: Format) -> None:
        self.tokenizer = tokenizer
        self.format = fmt
        vocabulary = tokenizer.get_vocab()
        missing = [word for word in REQUIRED_WORDS if word not in vocabulary]
        if missing:
            raise UserError(f"the tokenizer has no {' '.join(missing)}: format {fmt.name} needs a TeleChat tokenizer")
        self.control_ids: dict[str, int] = {word: vocabulary[word] for word in CONTROL_WORDS if word in vocabulary}
        self.end_id = self.control_ids[END]
        self._words = {number: word for word, number in self.control_ids.items()}
        self._backend = text_backend(tokenizer, CONTROL_WORDS)
        self._cached = lru_cache(maxsize=_CACHED_TEXTS)(self._encode)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        clear_thinking: bool = True,
        continue_final_message: bool = False,
        as_generated: bool = False,
    ) -> Rendered:
        """Text, ids and loss mask of a conversation; see `segments` for the options."""
        return self._rendered(
            segments(self.format, messages, tools, add_generation_prompt, clear_thinking, continue_final_message, as_generated)
        )

    def completion_ids(self, message: Message) -> list[int]:
        """An assistant message exactly as the model generates it after the generation prompt, ending in `<_end>`."""
        parts = completion_segments(self.format, message)
        before = [part for part in parts if not part.trained]
        return self._rendered(parts).ids[len(self._rendered(before).ids) :]

    def extend(
        self,
        ids: Sequence[int],
        new_messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        history: Sequence[Message] | None = None,
        mask: Sequence[int] | None = None,
        clear_thinking: bool = True,
    ) -> Rendered:
        """Go on after a generated turn: append tool results or user messages and the next generation prompt.

        `ids` is the prompt and everything generated so far; it is kept token for token (a turn that was cut gets its
        `<_end>`), and the mask is 0 on what is appended. `mask` is the mask of `ids`, zeros when not given.

        Where a user message follows and the format then drops old thinking (every thinking format, unless
        `clear_thinking` is false and the format can show it), nothing can be kept: the conversation is rendered
        afresh from `history` (all messages before `new_messages`, generated ones included) and `tools`, with the mask
        all 0, because no token of it stands where it was generated. Raises `ValueError` when `history` is missing.
        """
        if mask is not None and len(mask) != len(ids):
            raise ValueError(f"mask has {len(mask)} entries for {len(ids)} ids")
        if self.drops_thinking(new_messages, clear_thinking):
            if history is None:
                raise ValueError(f"{self.format.name} drops thinking when a user message follows: extend needs `history`")
            fresh = self.render([*history, *new_messages], tools, clear_thinking=clear_thinking)
            return Rendered(fresh.text, fresh.ids, [0] * len(fresh.ids))
        added = self._rendered(incoming_segments(self.format, new_messages))
        kept = list(ids)
        kept_mask = [0] * len(kept) if mask is None else list(mask)
        if not kept or kept[-1] != self.end_id:
            kept.append(self.end_id)
            kept_mask.append(0)
        return Rendered(self.decode(kept) + added.text, kept + added.ids, kept_mask + [0] * len(added.ids))

    def drops_thinking(self, new_messages: Sequence[Message], clear_thinking: bool = True) -> bool:
        """Whether `extend` with these messages starts afresh instead of appending."""
        if not self.format.thinks or not any(m.role == "user" for m in new_messages):
            return False
        return clear_thinking or self.format.thinking == "dropped"

    def thinking_length(self, ids: Sequence[int]) -> int:
        """How many tokens of a completion come before `</think>`; 0 when it does not end its thinking."""
        end = self.control_ids.get(THINK_END)
        return list(ids).index(end) if end is not None and end in ids else 0

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control words by name, nothing added or dropped around them."""
        out: list[str] = []
        run: list[int] = []
        for number in ids:
            word = self._words.get(number)
            if word is None:
                run.append(number)
                continue
            if run:
                out.append(self._backend.decode(run, skip_special_tokens=False))
                run = []
            out.append(word)
        if run:
            out.append(self._backend.decode(run, skip_special_tokens=False))
        return "".join(out)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text: no control word in it becomes a control token."""
        return list(self._look_up(text))

    def _rendered(self, parts: Sequence[Segment]) -> Rendered:
        ids: list[int] = []
        mask: list[int] = []
        before = ""
        for part in parts:
            number = self.control_ids.get(part.text) if part.control else None
            if number is not None:
                piece: Sequence[int] = (number,)
                before = ""
            else:
                piece = self._encode_behind(before, part.text)
                before = part.text
            ids += piece
            mask += [int(part.trained)] * len(piece)
        return Rendered("".join([part.text for part in parts]), ids, mask)

    def _encode_behind(self, before: str, text: str) -> Sequence[int]:
        """Ids of text that continues other text. Tokenizers that mark the beginning of a text must not mark it again;
        where the two would merge into other tokens, the ids of `before` stand as they are."""
        if before:
            first, both = self._look_up(before), self._look_up(before + text)
            if both[: len(first)] == first:
                return both[len(first) :]
        return self._look_up(text)

    def _look_up(self, text: str) -> tuple[int, ...]:
        return self._cached(text) if len(text) <= _CACHED_LENGTH else self._encode(text)

    def _encode(self, text: str) -> tuple[int, ...]:
        try:
            return tuple(self._backend.encode(text, add_special_tokens=False).ids)
        except (UnicodeEncodeError, TypeError):
            text = _SURROGATES.sub("\ufffd", text)
            return tuple(self._backend.encode(text, add_special_tokens=False).ids)


def text_backend(tokenizer: PreTrainedTokenizerFast, words: Collection[str]) -> Any:
    """A private copy of the tokenizer's core in which special tokens typed as text are text, `words` among them."""
    from tokenizers import Tokenizer

    state = tokenizer.backend_tokenizer.to_str()
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.content in words]
    if not all(token.special for token in added):
        state = _all_special(state, words)
    backend = Tokenizer.from_str(state)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _all_special(state: str, words: Collection[str]) -> str:
    """The state of a tokenizer with `words` among its added tokens made special."""
    loaded = json.loads(state)
    for token in loaded["added_tokens"]:
        token["special"] = token["special"] or token["content"] in words
    return json.dumps(loaded)
