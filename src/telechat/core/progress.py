"""The one progress display: a line that rewrites itself in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO


def clock(seconds: float) -> str:
    """`seconds` as m:ss or h:mm:ss."""
    whole = int(max(0.0, seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


class Progress:
    """Shows stage, step, figures, speed and time left on stderr; `quiet` shows nothing."""

    def __init__(self, stream: TextIO | None = None, every: float = 10.0, quiet: bool = False) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty() and not quiet
        self.every = 0.2 if self.live else every
        self.quiet = quiet
        self._shown = 0.0
        self._width = 0
        self._begun: tuple[str, float, int] = ("", 0.0, 0)
        self.prefix = ""
        self.on_update: Callable[[], None] | None = None

    def update(self, what: str, step: int, total: int, **figures: float | str) -> None:
        """Report `step` of `total` of `what`; cheap enough to be called every step."""
        if self.on_update is not None:
            self.on_update()
        now = time.monotonic()
        if self._begun[0] != what:
            self._begun = (what, now, step)
        if self.quiet or (now - self._shown < self.every and step < total):
            return
        self._shown = now
        done = step - self._begun[2]
        left = (now - self._begun[1]) / done * (total - step) if done > 0 else 0.0
        parts = [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()]
        eta = [f"{clock(left)} left"] if 0 < step < total else []
        self._line("  ".join([f"{self.prefix}{what} {step}/{total}", *parts, *eta]))

    def note(self, text: str) -> None:
        """A line that stays."""
        if self.quiet:
            return
        if self.live:
            self.stream.write("\r" + " " * self._width + "\r")
            self._width = 0
        self.stream.write(text + "\n")
        self.stream.flush()

    def _line(self, text: str) -> None:
        if not self.live:
            self.stream.write(text + "\n")
        else:
            self.stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        self.stream.flush()
