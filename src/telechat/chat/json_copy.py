"""Copies a JSON value as it arrives, so that arguments can be passed on before they are complete.

What comes out is always the beginning of valid JSON, in one spelling (that of `json.dumps`): strings that hold raw
line breaks or false escapes are mended, NaN and other words that are not JSON become text, trailing commas go, lone
surrogates become U+FFFD; values get the types that a schema asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring

from telechat.chat.tool_types import ANYTHING, ValueType
from telechat.chat.values import MAX_DEPTH, dump_json, load_json, mend_surrogates

_NO_SPACE = re.compile(r"[^ \t\r\n]|\Z")
_SCALAR = re.compile(r"""[^\s{}\[\],:"<]*""")
_STRING = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_PAIR = r"[dD][89abAB][0-9a-fA-F]{2}"
_UNIT = re.compile(rf"\\u{_PAIR}\\u[dD][c-fC-F][0-9a-fA-F]{{2}}|\\.|[^\\]", re.DOTALL)
_OPEN_UNIT = re.compile(rf"\\(?:u(?:[0-9a-fA-F]{{0,3}}|{_PAIR}(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?))?\Z")
_ESCAPE = re.compile(r'(\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt]))|\\')
_CLOSER = {"{": "}", "[": "]"}


def skip_space(data: str, pos: int, end: int) -> int:
    """The first position from `pos` on that is not JSON white space, at most `end`."""
    match = _NO_SPACE.search(data, pos, end)
    return match.start() if match else end


def string_end(data: str, pos: int, end: int) -> tuple[int, bool]:
    """Where the string content that begins at `pos` ends, and whether the closing quote stands there."""
    match = _STRING.match(data, pos, end)
    stop = match.end() if match else pos
    return stop, stop < end and data[stop] == '"'


def unescape(raw: str) -> str:
    """The text of JSON string content; what is no escape stands for itself."""
    if "\\" not in raw:
        return raw
    try:
        text = json.loads(f'"{raw}"', strict=False)
    except ValueError:
        text = json.loads('"' + _ESCAPE.sub(lambda m: m.group(1) or r"\\", raw) + '"', strict=False)
    return mend_surrogates(text)


def _open_unit(raw: str) -> int:
    """How many characters at the end of string content may belong to an escape that is not complete yet."""
    near = raw.find("\\", max(0, len(raw) - 12))
    if near < 0:
        return 0
    pos = len(raw[:near].rstrip("\\"))
    while pos < len(raw):
        if raw[pos] == "\\" and _OPEN_UNIT.match(raw, pos):
            return len(raw) - pos
        match = _UNIT.match(raw, pos)
        pos = match.end() if match else len(raw)
    return 0


class JsonCopy:
    """Copies one value to `emit`. After `done` the value is complete; after `failed` it cannot go on.

    `wanted` is the type of the value: strings that stand for something else, and the reverse, are written as it says.
    """

    def __init__(self, emit: Callable[[str], None], wanted: ValueType = ANYTHING) -> None:
        self.done = False
        self.failed = False
        self._emit = emit
        self._stack: list[str] = []
        self._expect = "value"
        self._comma = False
        self._string = ""
        self._scalar: list[str] = []
        self._wanted = wanted
        self._outer: list[ValueType] = []
        self._index = [0]
        self._held: list[str] | None = None

    @property
    def in_string(self) -> bool:
        """Inside a string that is passed on as it is: text without quotes and backslashes goes on in it."""
        return self._string == "value" and self._held is None

    def read(self, data: str, pos: int, end: int, last: bool) -> int:
        """Read on at `data[pos:end]`; returns how far it got. `last`: the value certainly goes no further than `end`."""
        while not (self.done or self.failed):
            if self._string:
                pos, closed = self._read_string(data, pos, end, last)
                if not closed:
                    return pos
                continue
            if self._scalar:
                if pos >= end and not last:
                    return pos
                pos = self._read_scalar(data, pos, end, last)
                continue
            pos = skip_space(data, pos, end)
            if pos >= end:
                return pos
            pos = self._read_token(data, pos, end, last)
        return pos

    def close(self) -> None:
        """Complete what is open, so that what was emitted is valid JSON."""
        if self.done:
            return
        if self._scalar:
            self._end_scalar()
        if self._string:
            self._end_string()
        if self._expect == "colon":
            self._emit(": null")
        elif self._expect == "value" and (not self._stack or self._stack[-1] == "{"):
            self._emit("null")
        self._emit("".join(_CLOSER[c] for c in reversed(self._stack)))
        self.done = True

    def _read_token(self, data: str, pos: int, end: int, last: bool) -> int:
        """Read one token; returns the position behind what was read of it."""
        c = data[pos]
        if c == '"':
            if self._expect in ("colon", "comma"):
                self.failed = True
                return pos
            self._begin_string()
        elif c in "{[":
            self._open(c)
        elif c in "}]":
            self._end_container(c)
        elif c == "," and self._expect == "comma":
            self._comma = True
            self._expect = "key" if self._stack[-1] == "{" else "value"
            if self._expect == "value":
                self._index[-1] += 1
                self._wanted = self._outer[-1].item(self._index[-1])
        elif c == ":" and self._expect == "colon":
            self._emit(": ")
            self._expect = "value"
        else:
            return self._read_scalar(data, pos, end, last)
        return pos if self.failed else pos + 1

    def _lead(self) -> None:
        if self._comma:
            self._emit(", ")
            self._comma = False

    def _open(self, c: str) -> None:
        if self._expect != "value" or len(self._stack) >= MAX_DEPTH:
            self.failed = True
            return
        self._lead()
        self._emit(c)
        self._stack.append(c)
        self._outer.append(self._wanted)
        self._index.append(0)
        self._expect = "key" if c == "{" else "value"
        if c == "[":
            self._wanted = self._wanted.item(0)

    def _end_container(self, c: str) -> None:
        wanted = ("key", "comma") if c == "}" else ("value", "comma")
        if not self._stack or _CLOSER[self._stack[-1]] != c or self._expect not in wanted:
            self.failed = True
            return
        self._stack.pop()
        self._outer.pop()
        self._index.pop()
        self._emit(c)
        self._comma = False
        self._end_value()

    def _end_value(self) -> None:
        self._expect = "comma"
        self.done = not self._stack

    def _begin_string(self) -> None:
        self._lead()
        self._string = self._expect
        if self._string == "value" and self._wanted.no_text:
            self._held = []
            return
        self._emit('"')
        if self._string == "key" and self._outer[-1].nested:
            self._held = []

    def _string_text(self, text: str) -> None:
        """More text of the string. A key is kept beside being passed on: it says what its value should be."""
        if self._held is not None:
            self._held.append(text)
            if self._string == "value":
                return
        self._emit(encode_basestring(text)[1:-1])

    def _end_string(self) -> None:
        key, self._string = self._string == "key", ""
        text, self._held = None if self._held is None else "".join(self._held), None
        if key:
            self._wanted = ANYTHING if text is None else self._outer[-1].member(text)
            self._expect = "colon"
        if key or text is None:
            self._emit('"')
        else:
            self._emit(dump_json(self._wanted.coerce(text)))
        if not key:
            self._end_value()

    def _read_scalar(self, data: str, pos: int, end: int, last: bool) -> int:
        """Read on in a number or word, which is emitted when it is complete."""
        match = _SCALAR.match(data, pos, end)
        stop = match.end() if match else pos
        if self._expect != "value" or (stop == pos and not self._scalar):
            self.failed = True
            return pos
        self._scalar.append(data[pos:stop])
        if stop < end or last:
            self._end_scalar()
        return stop

    def _end_scalar(self) -> None:
        word = "".join(self._scalar)
        self._scalar = []
        try:
            value = load_json(word)
        except ValueError:
            value = word
        self._lead()
        self._emit(dump_json(self._wanted.coerce(value)))
        self._end_value()

    def _read_string(self, data: str, pos: int, end: int, last: bool) -> tuple[int, bool]:
        stop, closed = string_end(data, pos, end)
        if not closed:
            stop = end if last else end - _open_unit(data[pos:end])
        if stop > pos:
            self._string_text(unescape(data[pos:stop]))
        if not closed:
            return stop, False
        self._end_string()
        return stop + 1, True
