"""What a model generated, as a message: one incremental parser for thinking, content and tool calls.

The parser reads what comes after the generation prompt (in thinking formats that is inside `<think>`). However the
text is cut into pieces, the message is the same; no input makes it raise, and all text arrives somewhere: white space
beside a call and around the thinking is dropped, and whatever follows the end of the turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Literal, NamedTuple

from telechat.chat import calls_json, calls_xml
from telechat.chat.calls import Reader, State, Tags
from telechat.chat.formats import BOT, CALL, CALL_END, END, OBSERVATION, SYSTEM, THINK, THINK_END, USER, Format
from telechat.chat.tool_types import ToolTypes
from telechat.chat.values import has_surrogates, mend_surrogates
from telechat.core.types import Message, ToolCall

STOPS: tuple[str, ...] = (END, USER, BOT, SYSTEM, OBSERVATION)
"""Words that end the output wherever they stand."""

ReasoningField = Literal["reasoning_content", "reasoning"]
"""Where thinking is in an OpenAI answer: DeepSeek's name, which most clients read, or the one that vLLM went over to in
2026. Never both: some clients would show it twice."""

REASONING, CONTENT, CALL_START, ARGUMENTS = "reasoning_content", "content", "call", "arguments"
HELD = "held"

_tags = lru_cache(maxsize=64)(Tags)
_delta = tuple.__new__  # of a named tuple: half the time of its constructor
_spelled = re.compile(r'(?:[^"\\\x00-\x1f]|\\["\\bfnrt])*+').match
"""Text of a JSON string that stands as `json.dumps` would write it."""
_MAX_HELD = 64
_NOT_NEWLINE = re.compile(r"[^\n]|\Z")


class Delta(NamedTuple):
    """A step of the stream. `kind` says what `text` is: `reasoning_content`, `content`, the name of tool call number `call`
    (`call`), or JSON text of its arguments (`arguments`). `text` is never empty."""

    kind: str
    text: str
    call: int = -1

    def to_openai(self, call_id: str | None = None) -> dict[str, Any]:
        """The OpenAI delta; `call_id` names the call that begins, `call_<number>` when not given."""
        if self.kind == CALL_START:
            function = {"name": self.text, "arguments": ""}
            start = {"index": self.call, "id": call_id or f"call_{self.call}", "type": "function", "function": function}
            return {"tool_calls": [start]}
        if self.kind == ARGUMENTS:
            return {"tool_calls": [{"index": self.call, "function": {"arguments": self.text}}]}
        return {self.kind: self.text}


@dataclass(frozen=True)
class Parsed:
    """A parsed output. `truncated`: it ended inside thinking or inside a call, or a call broke off and another one
    began; the arguments of such a call hold what was there. `problems` are for people who debug a model."""

    message: Message
    truncated: bool
    problems: tuple[str, ...] = ()

    def to_openai(self) -> dict[str, Any]:
        """The OpenAI assistant message: arguments as JSON strings, calls named `call_<number>`."""
        calls = [{**call.to_openai(), "id": call.id or f"call_{i}"} for i, call in enumerate(self.message.tool_calls)]
        thinking = self.message.reasoning_content
        return {"role": "assistant", "content": self.message.content, "reasoning_content": thinking, "tool_calls": calls}


class StreamParser:
    """Parses one output piece by piece: `feed` each piece, then `finish`; `parsed` is the whole.

    `tools` (OpenAI tools) tell the types of arguments. `in_thinking` says that the prompt ended inside `<think>`; by
    default as the format's generation prompt does. `stops` are the words that end the output; give none where the
    caller stops at the token and the words may stand in the text.
    """

    def __init__(
        self, fmt: Format, tools: Iterable[Any] = (), in_thinking: bool | None = None, stops: tuple[str, ...] = STOPS
    ) -> None:
        self.format = fmt
        self._types = ToolTypes(tools)
        self._stops = stops
        self._limits = calls_json.Limits(stops) if fmt.calls == "json" else None
        self._think_tags = _tags((THINK_END, *stops))
        self._content_tags = _tags((CALL, *stops))
        self._think_open = _tags((THINK,))
        self._quick_held = ("",) if self._limits is None else ("", "\\")
        tags = _tags((THINK, THINK_END, CALL, CALL_END, *calls_xml.TAGS, *stops))
        self._beginnings, self._may_be_tag = tags.beginnings, tags.may_begin
        thinks = fmt.thinks if in_thinking is None else in_thinking
        self._step: Callable[[str, int, bool], int] = self._before_thinking if thinks else self._before_content
        self._held = ""
        self._carry = ""
        self._quick = ""
        self._space: list[str] = []
        self._beside_call = False
        self._reader: Reader | None = None
        self._waiting = False
        self._done = False
        self._finished = False
        self._truncated = False
        self._problems: list[str] = []
        self._out: list[Delta] = []
        self._reasoning: list[str] = []
        self._content: list[str] = []
        self._names: list[str] = []
        self._arguments: list[list[str]] = []
        self._new_arguments: list[str] = []
        self._call = -1
        self._parts: list[str] = []

    def feed(self, text: str) -> list[Delta]:
        """What the next piece of output adds."""
        quick = self._quick
        if not quick or not text or not (text.isascii() or not has_surrogates(text)):
            return self._advance(text, False)
        if quick is HELD:
            held = self._held + text
            if not self._goes_on(held):
                return self._advance(text, False)
            self._held = held
            return []
        if "<" in text and self._may_be_tag(text):
            return self._advance(text, False)
        if quick is ARGUMENTS:
            if self._limits is not None:
                return self._more_json(text)
            text = encode_basestring(text)[1:-1]
            self._parts.append(text)
            return [_delta(Delta, (ARGUMENTS, text, self._call))]
        body = text.rstrip()
        space = text[len(body) :]
        if not body:
            self._space.append(space)
            return []
        if self._space:
            body = "".join(self._space) + body
            self._space.clear()
        if space:
            self._space.append(space)
        (self._content if quick is CONTENT else self._reasoning).append(body)
        return [_delta(Delta, (quick, body, -1))]

    def _goes_on(self, held: str) -> bool:
        """Whether `held`, the text that is held back and more, tells as little as what was held back."""
        if held in self._beginnings:
            return True
        if len(held) >= _MAX_HELD:  # holding back more and more would take time that grows with the square
            return False
        if self._reader is not None:
            return self._reader.goes_on(held)
        return self._beside_call and (held.isspace() or held.lstrip() in self._beginnings)

    def _more_json(self, text: str) -> list[Delta]:
        """More of a JSON string that is passed on as it comes."""
        if self._held or '"' in text or "\\" in text or not text.isprintable():
            text = self._held + text
            end = _spelled(text).end()  # type: ignore[union-attr]
            rest = text[end:]
            if rest and rest != "\\":
                return self._advance(text[len(self._held) :], False)
            text, self._held = text[:end], rest
            if not text:
                return []
        self._parts.append(text)
        return [_delta(Delta, (ARGUMENTS, text, self._call))]

    def finish(self) -> list[Delta]:
        """The output is complete: what was held back. Text that is fed afterwards is not read."""
        if self._finished:
            return []
        deltas = self._advance("", True)
        self._finished = self._done = True
        self._quick = ""
        return deltas

    @property
    def ended(self) -> bool:
        """A word that ends the turn was read: nothing that is fed from here on counts."""
        return self._done

    @property
    def parsed(self) -> Parsed:
        """The message so far; whole after `finish`."""
        calls = tuple(
            ToolCall(name, json.loads("".join(parts)) if self._done else {})
            for name, parts in zip(self._names, self._arguments, strict=True)
        )
        content, reasoning = "".join(self._content) or None, "".join(self._reasoning) or None
        unknown = [f"there is no tool {n!r}" for n in self._names if self._types.names and n not in self._types.names]
        message = Message("assistant", content, reasoning, calls)
        return Parsed(message, self._truncated, (*self._problems, *unknown))

    def _advance(self, text: str, final: bool) -> list[Delta]:
        if self._done:
            return []
        data = self._held + self._carry + text
        self._carry = ""
        if has_surrogates(data):
            if not final and "\ud800" <= data[-1] <= "\udbff":
                data, self._carry = data[:-1], data[-1]
            data = mend_surrogates(data)
        self._out = []
        self._waiting = False
        pos = 0
        while not (self._waiting or self._done):
            pos = self._step(data, pos, final)
        self._flush_arguments()
        self._held = "" if self._done else data[pos:]
        self._quick = self._quick_kind()
        return self._out

    def _quick_kind(self) -> str:
        """What text without tags is at this point, if nothing else has to be looked at; `HELD` where some is held back,
        as holding back more of it never changes the message."""
        if self._carry or self._done:
            return ""
        reader = self._reader
        if reader is not None:
            return ARGUMENTS if reader.text_value and self._held in self._quick_held else HELD
        if self._held or self._beside_call:
            return HELD
        if self._step == self._in_thinking:
            return REASONING if self._reasoning else ""
        return CONTENT if self._step == self._in_content else ""

    def _wait(self, pos: int) -> int:
        self._waiting = True
        return pos

    def _stop(self, truncated: bool) -> int:
        """The output ends here."""
        self._truncated |= truncated
        self._done = True
        return 0

    def _before_thinking(self, data: str, pos: int, final: bool) -> int:
        """White space before the thinking, and a `<think>` that the model repeats, are not part of it."""
        pos = len(data) - len(data[pos:].lstrip())
        tag = self._think_open.at(data, pos)
        if tag == "" and not final:
            return self._wait(pos)
        self._step = self._in_thinking
        return pos + len(tag or "")

    def _in_thinking(self, data: str, pos: int, final: bool) -> int:
        match = self._think_tags.search(data, pos)
        end = match.start() if match else len(data) if final else self._think_tags.safe_end(data, pos)
        self._text(REASONING, data[pos:end] if self._reasoning else data[pos:end].lstrip())
        if match is None:
            return self._stop(True) if final else self._wait(end)
        self._space.clear()
        if match.group() != THINK_END:
            return self._stop(True)
        self._step = self._after_thinking
        return match.end()

    def _after_thinking(self, data: str, pos: int, final: bool) -> int:
        """Line breaks between `</think>` and the content are not part of it."""
        match = _NOT_NEWLINE.search(data, pos)
        pos = match.start() if match else len(data)
        if pos == len(data) and not final:
            return self._wait(pos)
        self._step = self._in_content
        return pos

    def _before_content(self, data: str, pos: int, final: bool) -> int:
        """A format that does not think may still have been taught to: `<think>` at the very beginning opens thinking."""
        start = len(data) - len(data[pos:].lstrip())
        self._text(CONTENT, data[pos:start])
        tag = self._think_open.at(data, start)
        if tag == "" and not final:
            return self._wait(start)
        if tag:
            self._space.clear()
        self._step = self._before_thinking if tag else self._in_content
        return start + len(tag or "")

    def _in_content(self, data: str, pos: int, final: bool) -> int:
        match = self._content_tags.search(data, pos)
        end = match.start() if match else len(data) if final else self._content_tags.safe_end(data, pos)
        self._text(CONTENT, data[pos:end])
        if match is not None and match.group() == CALL:
            return self._begin(data, match.end())
        if match is None and not final:
            return self._wait(end)
        if self._space and not self._beside_call:
            self._append(CONTENT, "".join(self._space))
        return self._stop(False)

    def _begin(self, data: str, pos: int) -> int:
        """Behind a `<tool_call>`: a call that is all there is read at once."""
        limits = self._limits
        if limits is None:
            whole = calls_xml.whole_call(data, pos, self._types, self._stops)
        else:
            whole = calls_json.whole_call(data, pos, self._types, limits)
        if whole is not None:
            name, arguments, pos = whole
            self.begin_call(name)
            self.argument_text(arguments)
            self._beside_call = True
            return pos
        if limits is None:
            self._reader = calls_xml.XmlCall(self._types, self, self._stops)
        else:
            self._reader = calls_json.JsonCall(self._types, self, limits)
        self._step = self._in_call
        return pos

    def _in_call(self, data: str, pos: int, final: bool) -> int:
        reader = self._reader
        assert reader is not None
        pos = reader.read(data, pos, final)
        if reader.state is State.OPEN:
            return self._wait(pos)
        self._reader = None
        self._step = self._in_content
        if reader.state is State.ENDED or (reader.state is State.BROKEN and reader.begun):
            self._truncated = True
            if reader.begun:
                self._problems.append(f"call {self._call} ({self._names[-1]}) is not complete")
        if reader.begun:
            self._beside_call = True
        else:
            self._text(CONTENT, CALL + reader.unread())
        return pos

    def begin_call(self, name: str) -> None:
        """See `calls.Sink`."""
        self._flush_arguments()
        self._space.clear()
        self._names.append(name)
        self._parts = []
        self._arguments.append(self._parts)
        self._call += 1
        self._out.append(Delta(CALL_START, name, self._call))

    def argument_text(self, text: str) -> None:
        """See `calls.Sink`."""
        self._new_arguments.append(text)

    def problem(self, text: str) -> None:
        """See `calls.Sink`."""
        self._problems.append(text)

    def _flush_arguments(self) -> None:
        if self._new_arguments:
            text = "".join(self._new_arguments)
            self._new_arguments.clear()
            self._parts.append(text)
            self._out.append(Delta(ARGUMENTS, text, self._call))

    def _text(self, kind: str, text: str) -> None:
        """Thinking or content: white space at its end waits until it is known what follows."""
        if self._beside_call:
            text = text.lstrip()
            self._beside_call = not text
        body = text.rstrip()
        if body:
            end = len(body)
            if self._space:
                body = "".join(self._space) + body
                self._space.clear()
            self._append(kind, body)
            text = text[end:]
        if text:
            self._space.append(text)

    def _append(self, kind: str, text: str) -> None:
        self._flush_arguments()
        (self._content if kind == CONTENT else self._reasoning).append(text)
        self._out.append(Delta(kind, text))


def parse(fmt: Format, text: str, tools: Iterable[Any] = (), in_thinking: bool | None = None) -> Parsed:
    """The message that a whole output means; see `StreamParser`."""
    parser = StreamParser(fmt, tools, in_thinking)
    parser.feed(text)
    parser.finish()
    return parser.parsed
