"""Token ids to thinking, content and calls, one token at a time: what every way of answering is made from."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from telechat.chat.formats import END, THINK, THINK_END
from telechat.chat.parser import ARGUMENTS, CALL_START, CONTENT, REASONING, Delta, StreamParser
from telechat.chat.render import Renderer
from telechat.core.types import Message, ToolCall

HIDDEN_WORDS = (THINK, THINK_END, END)
"""Words that never stand in content, whatever a model generates and however it spells them."""

_HIDDEN = re.compile("|".join(map(re.escape, HIDDEN_WORDS)))
_TAIL = max(map(len, HIDDEN_WORDS)) - 1
_UNFINISHED = "\ufffd"
_LONGEST_CHARACTER = 4  # bytes in UTF-8, so tokens at most


class Detokenizer:
    """Text of a growing sequence of ids; a character whose bytes are spread over tokens comes when it is whole."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._words = {number: word for word, number in renderer.control_ids.items()}
        self._restart()

    def _restart(self) -> None:
        self._window: list[int] = []
        self._read = 0  # tokens of the window whose text is out
        self._shown = 0  # characters of the window's text that are out

    def push(self, token: int) -> str:
        """The text that `token` completes; control words by name."""
        word = self._words.get(token)
        if word is not None:
            return self.finish() + word
        self._window.append(token)
        text = self._renderer.decode(self._window)
        new = text[self._shown :]
        if text.endswith(_UNFINISHED):
            if len(self._window) - self._read < _LONGEST_CHARACTER:
                return ""
            self._restart()
            return new
        # The next window begins where this text began: at a whole character, for decoders that look at neighbours.
        self._window = self._window[self._read :]
        self._read = len(self._window)
        self._shown = len(self._renderer.decode(self._window))
        return new

    def finish(self) -> str:
        """What was held back: a character that never became whole."""
        held = self._renderer.decode(self._window)[self._shown :] if len(self._window) > self._read else ""
        self._restart()
        return held


class ContentGuard:
    """Content on its way out: takes out `HIDDEN_WORDS` and ends at a stop string, which is not part of the content."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        words = (*HIDDEN_WORDS, *self._stop)
        self._beginnings = frozenset(word[:n] for word in words for n in range(1, len(word)))
        self._longest = max(map(len, words))
        self._tail = ""  # the end of what is out: a hidden word must not come together across it either
        self._held = ""
        self.stopped = False
        self.met: str | None = None

    def push(self, text: str, final: bool = False) -> str:
        """What of the content so far may go out; `final` releases what might have become a word."""
        if self.stopped:
            return ""
        held = self._held + text
        found = [(at, word) for word in self._stop if (at := held.find(word)) >= 0]
        if found:
            at, self.met = min(found)
            held, final, self.stopped = held[:at], True, True
        start = len(self._tail)
        data = self._tail + held
        while match := _HIDDEN.search(data):
            data = data[: max(match.start(), start)] + data[match.end() :]
        end = len(data) if final else self._safe_end(data, start)
        self._held = data[end:]
        self._tail = data[:end][-_TAIL:]
        return data[start:end]

    def _safe_end(self, data: str, start: int) -> int:
        for at in range(max(start, len(data) - self._longest + 1), len(data)):
            if data[at:] in self._beginnings:
                return at
        return len(data)


@dataclass
class Call:
    """A tool call while it is generated; `arguments` are pieces of JSON text."""

    name: str
    id: str
    arguments: list[str] = field(default_factory=list)

    @property
    def arguments_text(self) -> str:
        """The arguments as the JSON text that goes on the wire."""
        return "".join(self.arguments) or "{}"


class Answer:
    """One sample: `push` its ids, `finish` it; gives deltas and, at the end, the message.

    `silent` are ids without text (the ids that end a turn, and special ids that are skipped). `stop` are stop strings;
    they end the content, never the thinking or an argument. `max_calls` bounds the tool calls: the turn ends where one
    more would begin; 0 (no tools were offered) makes calls content.
    """

    def __init__(
        self,
        renderer: Renderer,
        tools: Iterable[Mapping[str, Any]] = (),
        stop: Sequence[str] = (),
        silent: Collection[int] = (),
        max_calls: int | None = None,
    ) -> None:
        self._detokenizer = Detokenizer(renderer)
        self._parser = StreamParser(renderer.format, tools, stops=())
        self._guard = ContentGuard(stop)
        self._silent = silent
        self._max_calls = max_calls
        self._think = renderer.control_ids.get(THINK)
        self._think_end = renderer.control_ids.get(THINK_END)
        self._thinking = renderer.format.thinks
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._finished = False
        self.calls: list[Call] = []
        self.tokens = 0
        self.reasoning_tokens = 0
        self.ended = False
        """A stop string or the bound on calls was met: what the model generates from here on does not count."""

    def push(self, token: int) -> list[Delta]:
        """What one more generated id adds."""
        if self.ended:
            return []
        self.tokens += 1
        if token in self._silent:
            return []
        if token == self._think and self.tokens == 1:  # of models that open their thinking themselves
            self._thinking = True
        if token == self._think_end:
            self._thinking = False
        self.reasoning_tokens += self._thinking
        return self._pass(self._parser.feed(self._detokenizer.push(token)))

    def finish(self) -> list[Delta]:
        """The sample is over: what was held back. May be called again, to no effect."""
        if self._finished:
            return []
        self._finished = True
        deltas: list[Delta] = []
        if not self.ended:
            deltas = self._pass(self._parser.feed(self._detokenizer.finish()))
            deltas += self._pass(self._parser.finish())
        return deltas + self._emit("", final=True)

    @property
    def stop_met(self) -> str | None:
        """The stop string that ended the content; None when none did."""
        return self._guard.met

    @property
    def content(self) -> str | None:
        """The content so far; None when there is none."""
        return "".join(self._content) or None

    @property
    def reasoning(self) -> str | None:
        """The thinking so far; None when there is none."""
        return "".join(self._reasoning) or None

    @property
    def message(self) -> Message:
        """The assistant message; whole after `finish`, before that without calls."""
        calls = self.calls if self._finished else []
        made = tuple(ToolCall(call.name, json.loads(call.arguments_text), call.id) for call in calls)
        return Message("assistant", self.content, self.reasoning, made)

    def _pass(self, deltas: Iterable[Delta]) -> list[Delta]:
        out: list[Delta] = []
        for delta in deltas:
            if self.ended:
                break
            if delta.kind == REASONING:
                self._reasoning.append(delta.text)
                out.append(delta)
                continue
            self._thinking = False
            if delta.kind == CONTENT or self._max_calls == 0:
                out += self._emit(delta.text)
            elif delta.kind == CALL_START:
                out += self._emit("", final=True)
                if self._max_calls is not None and len(self.calls) >= self._max_calls:
                    self.ended = True
                    break
                self.calls.append(Call(delta.text, f"call_{secrets.token_hex(12)}"))
                out.append(delta)
            elif delta.kind == ARGUMENTS:
                self.calls[-1].arguments.append(delta.text)
                out.append(delta)
        return out

    def _emit(self, text: str, final: bool = False) -> list[Delta]:
        shown = self._guard.push(text, final)
        self.ended |= self._guard.stopped
        if not shown:
            return []
        self._content.append(shown)
        return [Delta(CONTENT, shown)]
