"""Calls in the XML format: `name<param_key>k</param_key><param_value>v</param_value>…</tool_call>`.

Nothing is escaped in this format, so a value may hold any text. A `</param_value>` ends the value only where another
`<param_key>`, the `</tool_call>` or the end of the output follows. Text values are passed on as they arrive.
"""

from __future__ import annotations

import re
from functools import lru_cache
from json.encoder import encode_basestring

from telechat.chat.calls import MAX_NAME, NAME_PATTERN, Sink, State, Tags, valid_name
from telechat.chat.formats import CALL, CALL_END
from telechat.chat.tool_types import ANYTHING, JSON_START, MAX_NULL, ToolTypes, ValueType

KEY, KEY_END, VALUE, VALUE_END = "<param_key>", "</param_key>", "<param_value>", "</param_value>"
TAGS = (KEY, KEY_END, VALUE, VALUE_END)
MAX_KEY = 4096
"""From `<param_key>` to `<param_value>` there are at most this many characters."""

_NO_SPACE = re.compile(r"\S|\Z")
_NEXT_CALL = re.compile(rf"<tool_call>\s{{0,8}}({NAME_PATTERN}{{0,{MAX_NAME}}})\s{{0,8}}")


def _skip_space(data: str, pos: int) -> int:
    match = _NO_SPACE.search(data, pos)
    return match.start() if match else len(data)


class _Grammar:
    """The tags that matter in each place, for one set of stop words."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.after_name = Tags((KEY, CALL_END, *stops))
        self.after_key = Tags((KEY_END, VALUE, *stops))
        self.before_value = Tags((VALUE, *stops))
        self.in_value = Tags((VALUE_END, CALL_END, CALL, *stops))
        no_tag = "|".join(map(re.escape, (VALUE_END, CALL_END, CALL, *stops)))
        value = rf"[^<]*+(?:(?!{no_tag})<[^<]*+)*+"
        self.parameter = re.compile(
            rf"{KEY}([^<]{{0,2000}}+){KEY_END}\s{{0,2000}}+{VALUE}({value}){VALUE_END}\s*+(?:({CALL_END})|(?={KEY}))"
        ).match


_grammar = lru_cache(maxsize=16)(_Grammar)


def whole_call(data: str, pos: int, types: ToolTypes, stops: tuple[str, ...]) -> tuple[str, str, int] | None:
    """Name, arguments and end of a call that is all there and written as usual; `XmlCall` reads every other one."""
    parameter = _grammar(stops).parameter
    begin = data.find("<", pos, pos + MAX_NAME + 1)
    name = data[pos:begin].strip()
    if begin < 0 or not valid_name(name, types):
        return None
    if data.startswith(CALL_END, begin):
        return name, "{}", begin + len(CALL_END)
    wanted = types.arguments(name)
    pairs = []
    while match := parameter(data, begin):
        key, value, end = match.groups()
        key = key.strip()
        pairs.append(f"{encode_basestring(key)}: {wanted.member(key).spell(value)}")
        begin = match.end()
        if end:
            return name, "{" + ", ".join(pairs) + "}", begin
    return None


class XmlCall:
    """Reads one call; see `calls.Reader`."""

    def __init__(self, types: ToolTypes, sink: Sink, stops: tuple[str, ...]) -> None:
        self.state = State.OPEN
        self.begun = False
        self.text_value = False
        self._types = types
        self._sink = sink
        self._tags = _grammar(stops)
        self._step = self._read_name
        self._waiting = False
        self._name = ""
        self._keys = 0
        self._type: ValueType = ANYTHING
        self._value_open = False
        self._undecided = False
        self._parts: list[str] | None = None
        self._tail: list[str] = []

    def read(self, data: str, pos: int, final: bool) -> int:
        """See `calls.Reader.read`."""
        self._waiting = False
        while self.state is State.OPEN and not self._waiting:
            pos = self._step(data, pos, final)
        if final and self.state is State.OPEN:
            self.state = State.ENDED
        self.text_value = self._value_open and self._parts is None and not self._tail
        if self.state is not State.OPEN and self.begun:
            if self._value_open:
                self._end_value()
            self._sink.argument_text("}" if self._keys else "{}")
        return pos

    def goes_on(self, held: str) -> bool:
        """See `calls.Reader.goes_on`."""
        if self._step == self._read_key:
            return self._tags.before_value.search(held) is None
        return self._step == self._read_name and self._tags.after_name.search(held) is None

    def unread(self) -> str:
        """See `calls.Reader.unread`: names are read in one piece, so there is nothing."""
        return ""

    def _wait(self, pos: int) -> int:
        self._waiting = True
        return pos

    def _finish(self, state: State, pos: int) -> int:
        self.state = state
        return pos

    def _read_name(self, data: str, pos: int, final: bool) -> int:
        i = data.find("<", pos)
        if (len(data) if i < 0 else i) - pos > MAX_NAME:
            return self._finish(State.NOT_A_CALL, pos)
        tag = "" if i < 0 else self._tags.after_name.at(data, i)
        if tag == "":
            begun = data[pos : len(data) if i < 0 else i].strip()
            name_like = " " not in begun or any(known.startswith(begun) for known in self._types.names)
            return self._wait(pos) if name_like or not final else self._finish(State.NOT_A_CALL, pos)
        name = data[pos:i].strip()
        if tag in (KEY, CALL_END) and valid_name(name, self._types):
            self._name = name
            self.begun = True
            self._sink.begin_call(name)
            self._step = self._read_next
            return i
        return self._finish(State.ENDED if tag and tag not in (KEY, CALL_END) else State.NOT_A_CALL, pos)

    def _read_next(self, data: str, pos: int, final: bool) -> int:
        """At a tag that follows the name or a value."""
        tag = self._tags.after_name.at(data, pos)
        if tag == KEY:
            self._step = self._read_key
            return pos
        return self._finish(State.CLOSED, pos + len(CALL_END)) if tag == CALL_END else self._finish(State.ENDED, pos)

    def _read_key(self, data: str, pos: int, final: bool) -> int:
        """From `<param_key>` to behind `<param_value>`, in one piece."""
        i = data.find("<", pos + len(KEY))
        tag = "" if i < 0 else self._tags.after_key.at(data, i)
        end = i = len(data) if i < 0 else i
        if tag == KEY_END:
            i = _skip_space(data, i + len(KEY_END))
            tag = self._tags.before_value.at(data, i)
        if i - pos > MAX_KEY:
            return self._finish(State.BROKEN, pos)
        if tag == "":
            return self._wait(pos)
        if tag != VALUE:
            return self._finish(State.ENDED if tag else State.BROKEN, pos)
        self._begin_value(data[pos + len(KEY) : end].strip())
        return i + len(VALUE)

    def _begin_value(self, key: str) -> None:
        self._sink.argument_text(f"{', ' if self._keys else '{'}{encode_basestring(key)}: ")
        self._keys += 1
        self._type = self._types.of(self._name, key)
        self._value_open = True
        self._step = self._read_value
        self._parts = []
        self._undecided = self._type.anything
        if self._type.only_text:
            self._stream()

    def _stream(self) -> None:
        """From here on the value is text for certain: it is passed on as it comes."""
        held = "".join(self._parts or ())
        self._parts = None
        self._sink.argument_text('"' + encode_basestring(held)[1:-1])

    def _read_value(self, data: str, pos: int, final: bool) -> int:
        match = self._tags.in_value.search(data, pos)
        if match is None:
            end = len(data) if final else self._tags.in_value.safe_end(data, pos)
            self._value_text(data[pos:end])
            return self._wait(end)
        start, tag = match.start(), match.group()
        self._value_text(data[pos:start])
        if tag == CALL:
            another = self._another_call(data, start, final)
            if another is None:
                return self._wait(start)
            if another:
                return self._finish(State.BROKEN, start)
            self._value_text(CALL)
            return match.end()
        if tag not in (VALUE_END, CALL_END):
            return self._finish(State.ENDED, start)
        self._tail = [tag]
        self._step = self._read_tail
        return match.end()

    def _read_tail(self, data: str, pos: int, final: bool) -> int:
        """Behind a tag that may have ended the value: what follows the white space tells."""
        i = _skip_space(data, pos)
        self._tail.append(data[pos:i])
        closed = self._tail[0] == VALUE_END
        tag = self._tags.after_name.at(data, i)
        if closed and tag:
            self._end_value()
            self._step = self._read_next
            return i
        cut = tag == "" or (len(data) - i < len(CALL) and CALL.startswith(data[i:]))
        another = self._another_call(data, i, final) if data.startswith(CALL, i) else False
        if another is None or (cut and not final):
            return self._wait(i)
        if another:
            return self._finish(State.BROKEN, i)
        if closed and cut:
            return self._finish(State.ENDED, len(data))
        text, self._tail = "".join(self._tail), []
        self._value_text(text)
        self._step = self._read_value
        return i

    def _another_call(self, data: str, pos: int, final: bool) -> bool | None:
        """Whether another call begins at the `<tool_call>` at `pos` though this one is open; None: too early to tell."""
        match = _NEXT_CALL.match(data, pos)
        if match is None:
            return False
        name, rest = match.group(1), data[match.end() : match.end() + len(KEY)]
        if rest == KEY:
            return name in self._types.names if self._types.names else valid_name(name, self._types)
        return None if not final and KEY.startswith(rest) else False

    def _value_text(self, text: str) -> None:
        """More text of the value: passed on, or kept while it may still be something else than text."""
        if self._parts is None:
            if text:
                self._sink.argument_text(encode_basestring(text)[1:-1])
            return
        self._parts.append(text)
        if self._type.text_or_null:
            whole = "".join(self._parts)
            if len(whole) > MAX_NULL or not "null".startswith(whole.strip()):
                self._stream()
            else:
                self._parts = [whole]
        elif self._undecided and (start := text.lstrip()[:1]):
            self._undecided = False
            if start not in JSON_START:
                self._stream()

    def _end_value(self) -> None:
        """Close the value: the text so far is all of it."""
        self._value_open = False
        self._tail = []
        if self._parts is None:
            self._sink.argument_text('"')
        else:
            self._sink.argument_text(self._type.spell("".join(self._parts)))
        self._parts = None
