"""What the two call readers share: the states of a call, where it is written to, and tags that a cut may split."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from telechat.chat.tool_types import ToolTypes

NAME_PATTERN = r"""[^\s<>{}\[\]()"'`,;=]"""
"""A character of a tool name."""
MAX_NAME = 256
"""A tool name, with the white space around it, is at most this long."""

_NAME = re.compile(NAME_PATTERN + "+")


class State(Enum):
    """Where a call reader stands."""

    OPEN = "needs more text"
    CLOSED = "the call is complete; what follows is content"
    BROKEN = "the call cannot go on; what follows is content"
    ENDED = "the output ended inside the call"
    NOT_A_CALL = "what stands behind the tag is no call; it is content, and the tag too"


class Sink(Protocol):
    """Receives what a call reader reads."""

    def begin_call(self, name: str) -> None:
        """A call of this tool begins."""

    def argument_text(self, text: str) -> None:
        """More JSON text of the arguments of the call that began last."""

    def problem(self, text: str) -> None:
        """Something about the last call that a person debugging wants to know."""


class Reader(Protocol):
    """Reads one call, from behind its `<tool_call>` on."""

    state: State
    begun: bool
    """The tool's name is known and the call has been passed on."""
    text_value: bool
    """Inside a text value: text without tags (in JSON, without quotes and backslashes) could be passed on as it is."""

    def read(self, data: str, pos: int, final: bool) -> int:
        """Read on at `data[pos:]`; returns how far it got. What is left must be given again with more text behind it.

        `final`: nothing more comes, so the state is not OPEN afterwards and what is left is not part of the call.
        """

    def goes_on(self, held: str) -> bool:
        """Whether nothing would be passed on if `held` were read: what is left and what has come since."""

    def unread(self) -> str:
        """What was read of a call that never began: content."""


def valid_name(name: str, types: ToolTypes) -> bool:
    """Whether this can be the name of a tool."""
    return name in types.names or _NAME.fullmatch(name) is not None


class Tags:
    """Tags that matter in one place: finds them, and knows where text may end in the beginning of one."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        self._longest = max(map(len, self.words), default=0)
        self.beginnings = frozenset(word[:n] for word in self.words for n in range(1, len(word)))
        seconds = "".join(re.escape(word[1:2]) for word in self.words)
        self.may_begin = re.compile(rf"<(?:[{seconds}]|\Z)" if seconds else "<").search
        self.search = re.compile("|".join(re.escape(word) for word in self.words) or r"(?!)").search

    def safe_end(self, data: str, pos: int) -> int:
        """Up to where `data[pos:]`, which holds no whole tag, certainly holds no part of one."""
        start = data.rfind("<", max(pos, len(data) - self._longest + 1))
        return start if start >= 0 and data[start:] in self.beginnings else len(data)

    def at(self, data: str, pos: int) -> str | None:
        """The tag that begins at `pos`: its word, "" if the text ends too early to tell, None for none of them."""
        for word in self.words:
            if data.startswith(word, pos):
                return word
        return "" if pos == len(data) or data[pos : pos + self._longest] in self.beginnings else None
