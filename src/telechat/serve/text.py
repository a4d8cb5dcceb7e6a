"""Generated text as it stands, without thinking or calls being read: for `/v1/completions` and for `LLM`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from telechat.chat.render import Renderer
from telechat.serve.answer import Detokenizer


class TextSample:
    """The text of one completion while it grows. `met` is the stop string that ended it.

    `silent` are ids without text. With `keep_stop` the stop string is part of the text.
    """

    def __init__(
        self, renderer: Renderer, stops: Sequence[str] = (), silent: Collection[int] = (), keep_stop: bool = False
    ) -> None:
        self.text = ""
        self.met: str | None = None
        self._detokenizer = Detokenizer(renderer)
        self._stops = tuple(stops)
        self._silent = silent
        self._keep_stop = keep_stop
        self._shown = 0

    def push(self, token: int) -> bool:
        """Take one more token; True when a stop string has come."""
        if token not in self._silent:
            self._add(self._detokenizer.push(token))
        return self.met is not None

    def finish(self) -> None:
        """No more tokens come: a character that never became whole is shown as such."""
        self._add(self._detokenizer.finish())

    def fresh(self, final: bool = False) -> str:
        """The text since the last call; held back while it may still become a stop string, unless `final`."""
        end = len(self.text)
        if self.met is None and not final:
            end -= self._held()
        text, self._shown = self.text[self._shown : end], max(end, self._shown)
        return text

    def _held(self) -> int:
        """Characters at the end that a stop string could begin with."""
        longest = max(map(len, self._stops), default=0)
        for size in range(min(longest - 1, len(self.text) - self._shown), 0, -1):
            if any(stop.startswith(self.text[-size:]) for stop in self._stops):
                return size
        return 0

    def _add(self, text: str) -> None:
        if self.met is not None or not text:
            return
        start = max(0, len(self.text) - max(map(len, self._stops), default=0))
        self.text += text
        found = [(at, word) for word in self._stops if (at := self.text.find(word, start)) >= 0]
        if found:
            at, self.met = min(found)
            self.text = self.text[: at + len(self.met) * self._keep_stop]
