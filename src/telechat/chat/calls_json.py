"""Calls in the JSON format: `{"name": "…", "arguments": {…}}</tool_call>`, keys in any order.

Arguments are passed on as they arrive once the name is known; a call that is all there is read in one go.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from telechat.chat.calls import Sink, State, Tags, valid_name
from telechat.chat.formats import CALL, CALL_END
from telechat.chat.json_copy import JsonCopy, skip_space, string_end, unescape
from telechat.chat.tool_types import ANYTHING, ToolTypes
from telechat.chat.values import decode_json, dump_json, load_json

MAX_WORD = 1024
"""Keys of the call object and the tool's name are at most this long."""

_ARGUMENTS = ("arguments", "parameters")
_ANOTHER = r'<tool_call>\s{0,16}\{\s{0,16}"name"'
_ANOTHER_CUT = re.compile(r'<tool_call>\s{0,16}(?:\{\s{0,16}(?:"(?:n(?:a(?:m(?:e)?)?)?)?)?)?\Z')
_LONGEST_CUT = 64
_END = Tags((CALL_END, CALL))
_SPACE = r"[ \t\r\n]*+"
_WHOLE = re.compile(
    rf"""{_SPACE}\{{{_SPACE}"name"{_SPACE}:{_SPACE}"([^"\\]{{1,256}}+)"{_SPACE},{_SPACE}"arguments"{_SPACE}:{_SPACE}(?=\{{)"""
)
_WHOLE_END = re.compile(rf"{_SPACE}\}}{_SPACE}{CALL_END}")


class Limits:
    """Finds where a call must end: at a stop word, or where another call begins although this one is open."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.stops = Tags(stops)
        self._search = re.compile("|".join([_ANOTHER, *map(re.escape, stops)])).search
        self._seen: tuple[str, int, int] = ("", 0, -1)

    def first(self, data: str, pos: int) -> int:
        """Where the first limit from `pos` on stands, -1 without one; remembered while `data` is the same text."""
        known, start, found = self._seen
        if known is not data or pos < start or 0 <= found < pos:
            match = self._search(data, pos)
            found = match.start() if match else -1
            self._seen = (data, pos, found)
        return found


def whole_call(data: str, pos: int, types: ToolTypes, limits: Limits) -> tuple[str, str, int] | None:
    """Name, arguments and end of a call that is all there and written as usual; `JsonCall` reads every other one."""
    match = _WHOLE.match(data, pos)
    if match is None or not valid_name(match.group(1), types):
        return None
    limit = limits.first(data, pos)
    if data.find(CALL_END, pos, len(data) if limit < 0 else limit) < 0:
        return None
    try:
        value, stop = decode_json(data, match.end())
    except ValueError:
        return None
    end = _WHOLE_END.match(data, stop)
    if end is None or 0 <= limit < end.end():
        return None
    name = match.group(1)
    return name, dump_json(types.arguments(name).coerce(value)), end.end()


class JsonCall:
    """Reads one call; see `calls.Reader`."""

    def __init__(self, types: ToolTypes, sink: Sink, limits: Limits) -> None:
        self.state = State.OPEN
        self.begun = False
        self.text_value = False
        self._types = types
        self._sink = sink
        self._limits = limits
        self._step = self._read_open
        self._waiting = False
        self._last = False
        self._unread: list[str] = []
        self._held: list[str] = []
        self._wanted = ANYTHING
        self._key = ""
        self._copy: JsonCopy | None = None
        self._other: list[str] = []
        self._has_arguments = False
        self._streaming = False

    def read(self, data: str, pos: int, final: bool) -> int:
        """See `calls.Reader.read`."""
        start = pos
        end, self._last = self._end_of_text(data, pos, final)
        self._waiting = False
        while self.state is State.OPEN and not self._waiting:
            pos = self._step(data, pos, end)
        if self.state is State.OPEN and self._last:
            ended = end == len(data) or self._limits.stops.at(data, end)
            self.state = State.ENDED if ended else State.BROKEN if self.begun else State.NOT_A_CALL
        self.text_value = self.begun and self._streaming and self._copy is not None and self._copy.in_string
        if not self.begun:
            self._unread.append(data[start:pos])
        elif self.state is not State.OPEN:
            self._close()
        return pos

    def goes_on(self, held: str) -> bool:
        """See `calls.Reader.goes_on`: nothing is passed on before the name, and then before the arguments."""
        if "<" in held or "}" in held:
            return False
        if self._step == self._read_open:
            return held.lstrip()[:1] in ("", "{") and held.count('"') < 4
        steps = (self._read_comma, self._read_key, self._read_colon, self._read_value)
        return self.begun and not self._has_arguments and self._step in steps and "{" not in held

    def unread(self) -> str:
        """See `calls.Reader.unread`."""
        return "".join(self._unread)

    def _end_of_text(self, data: str, pos: int, final: bool) -> tuple[int, bool]:
        """Up to where the text may belong to this call, and whether it certainly goes no further."""
        if data.find("<", pos) < 0:
            return len(data), final
        found = self._limits.first(data, pos)
        if found >= 0:
            return found, True
        if final:
            return len(data), True
        end = self._limits.stops.safe_end(data, pos)
        cut = data.rfind("<", max(pos, len(data) - _LONGEST_CUT))
        while cut >= 0:
            if CALL.startswith(data[cut:]) or _ANOTHER_CUT.match(data, cut):
                end = min(end, cut)
            cut = data.rfind("<", max(pos, len(data) - _LONGEST_CUT), cut)
        return end, False

    def _wait(self, pos: int) -> int:
        self._waiting = True
        return pos

    def _fail(self, pos: int) -> int:
        self.state = State.BROKEN if self.begun else State.NOT_A_CALL
        return pos

    def _read_open(self, data: str, pos: int, end: int) -> int:
        pos = skip_space(data, pos, end)
        if pos >= end:
            return self._wait(pos)
        if data[pos] != "{":
            return self._fail(pos)
        self._step = self._read_key
        return pos + 1

    def _read_key(self, data: str, pos: int, end: int) -> int:
        pos = skip_space(data, pos, end)
        if pos >= end:
            return self._wait(pos)
        if data[pos] == "}":
            self._step = self._read_end
            return pos + 1
        word = self._word(data, pos, end)
        if word is None:
            return pos
        self._key, pos = word
        self._step = self._read_colon
        return pos

    def _word(self, data: str, pos: int, end: int) -> tuple[str, int] | None:
        """A short string, in one piece, and the position behind it; None after waiting for more or failing."""
        stop, closed = string_end(data, pos + 1, end)
        if data[pos] != '"' or stop - pos > MAX_WORD:
            self._fail(pos)
            return None
        if not closed:
            self._wait(pos)
            return None
        return unescape(data[pos + 1 : stop]), stop + 1

    def _read_colon(self, data: str, pos: int, end: int) -> int:
        pos = skip_space(data, pos, end)
        if pos >= end:
            return self._wait(pos)
        self._step = self._read_value
        return pos + 1 if data[pos] == ":" else self._fail(pos)

    def _read_value(self, data: str, pos: int, end: int) -> int:
        pos = skip_space(data, pos, end)
        if pos >= end:
            return self._wait(pos)
        if self._key == "name" and not self.begun:
            return self._read_name(data, pos, end)
        if self._key in _ARGUMENTS and not self._has_arguments:
            self._has_arguments = True
            if data[pos] == "{":
                return self._read_arguments(data, pos, end)
            self._step = self._read_odd_arguments
        else:
            self._step = self._read_copied
            self._sink_problem(f"key {self._key!r} of a call is not used")
        self._other = []
        self._streaming = False
        self._copy = JsonCopy(self._other.append)
        return pos

    def _sink_problem(self, text: str) -> None:
        if self.begun:
            self._sink.problem(text)

    def _read_name(self, data: str, pos: int, end: int) -> int:
        word = self._word(data, pos, end)
        if word is None:
            return pos
        name, after = word
        if not valid_name(name, self._types):
            return self._fail(pos)
        self.begun = True
        self._wanted = self._types.arguments(name)
        self._sink.begin_call(name)
        if self._held:
            held = load_json("".join(self._held))
            self._sink.argument_text(dump_json(self._wanted.coerce(held)))
        self._step = self._read_comma
        return after

    def _emit(self, text: str) -> None:
        if self.begun:
            self._sink.argument_text(text)
        else:
            self._held.append(text)

    def _read_arguments(self, data: str, pos: int, end: int) -> int:
        if data.find(CALL_END, pos, end) >= 0:
            try:
                value, stop = decode_json(data, pos)
                if stop <= end:
                    self._emit(dump_json(self._wanted.coerce(value)))
                    self._step = self._read_comma
                    return stop
            except ValueError:
                pass
        self._streaming = True
        self._copy = JsonCopy(self._emit, self._wanted)
        self._step = self._read_copied
        return pos

    def _read_copied(self, data: str, pos: int, end: int) -> int:
        """Arguments, or a value that is not used, as they arrive."""
        assert self._copy is not None
        pos = self._copy.read(data, pos, end, self._last)
        if self._copy.failed:
            return self._fail(pos)
        if not self._copy.done:
            return self._wait(pos)
        self._copy = None
        self._step = self._read_comma
        return pos

    def _read_odd_arguments(self, data: str, pos: int, end: int) -> int:
        """Arguments that do not begin as an object: null, or an object written as a string."""
        pos = self._read_copied(data, pos, end)
        if self._copy is None:
            self._emit_odd_arguments()
        return pos

    def _emit_odd_arguments(self) -> None:
        value: Any = load_json("".join(self._other))
        self._other = []
        if isinstance(value, str):
            with suppress(ValueError):
                value = load_json(value)
        if value is None:
            value = {}
        elif not isinstance(value, dict):
            self._sink_problem("the arguments of a call are not an object")
            value = {"arguments": value}
        self._emit(dump_json(self._wanted.coerce(value)))

    def _read_comma(self, data: str, pos: int, end: int) -> int:
        pos = skip_space(data, pos, end)
        if pos >= end:
            return self._wait(pos)
        if data[pos] == ",":
            self._step = self._read_key
            return pos + 1
        if data[pos] == "}":
            self._step = self._read_end
            return pos + 1
        return self._fail(pos)

    def _read_end(self, data: str, pos: int, end: int) -> int:
        """Behind the object: `</tool_call>` is expected; another call may stand there too."""
        if not self.begun:
            return self._fail(pos)
        pos = skip_space(data, pos, end)
        if pos >= end and not self._last:
            return self._wait(pos)
        tag = _END.at(data, pos)
        if tag == "" or (pos >= end and tag is None):
            return self._wait(end if self._last else pos)
        self.state = State.CLOSED
        return pos + len(CALL_END) if tag == CALL_END else pos

    def _close(self) -> None:
        """Make the arguments that were passed on an object."""
        if self._copy is not None:
            self._copy.close()
            if self._step == self._read_odd_arguments:
                self._emit_odd_arguments()
        if not self._has_arguments:
            self._sink.argument_text("{}")
