"""Thinking cut off from what follows it: the serving engines parse the two one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from telechat.chat.calls import Tags
from telechat.chat.formats import THINK, THINK_END


class ThinkingSplitter:
    """Splits an output that begins inside `<think>` into the thinking and, untouched, everything behind it.

    White space around the thinking and line breaks behind `</think>` belong to neither (as in `chat.parser`). `ended`
    says that `</think>` was read. However the text is cut into pieces, both parts are the same.
    """

    def __init__(self) -> None:
        self.ended = False
        self._held = ""
        self._begun = False
        self._content_begun = False
        self._end = Tags((THINK_END,))
        self._start = Tags((THINK,))

    def feed(self, text: str, final: bool = False) -> tuple[str, str]:
        """(more thinking, more of the rest)."""
        if self.ended:
            return "", self._rest(text)
        data = self._held + text
        self._held = ""
        if not self._begun:
            data = data.lstrip()
            tag = self._start.at(data, 0)
            if tag == "" and not final:
                self._held = data
                return "", ""
            data = data[len(tag or "") :].lstrip() if tag else data
            if not data:
                self._held = THINK if tag else ""  # the tag may stand once more; white space behind it does not count
                return "", ""
            self._begun = True
        match = self._end.search(data)
        if match:
            self.ended = True
            return data[: match.start()].rstrip(), self._rest(data[match.end() :])
        cut = len(data) if final else self._end.safe_end(data, 0)
        body = data[:cut].rstrip()
        self._held = "" if final else data[len(body) :]
        return body, ""

    def finish(self) -> str:
        """What was held back of the thinking; the output is complete."""
        return self.feed("", final=True)[0] if not self.ended else ""

    def _rest(self, text: str) -> str:
        if not self._content_begun:
            text = text.lstrip("\n")
            self._content_begun = bool(text)
        return text


def split_thinking(text: str) -> tuple[str | None, str | None]:
    """(thinking, rest) of a whole output that began inside `<think>`; None for an empty part."""
    splitter = ThinkingSplitter()
    thinking, rest = splitter.feed(text, final=True)
    return thinking or None, rest or None


def thinking_ended(ids: Sequence[int], start: int | None, end: int | None) -> bool:
    """Whether the last of `<think>` and `</think>` among `ids` (the prompt, perhaps with some output) is `</think>`."""
    for token in reversed(ids):
        if token == end:
            return True
        if token == start:
            return False
    return False
