"""Uses the controls of a page, each in a visit of its own, and tells which of them answer.

What a control does is the difference from the same visit without it: time and chance are the same in both, so whatever
differs is its effect. One that does nothing on the fresh page (a reset, an equals sign, what a start screen covers) gets
two more chances, after others that do something have been used.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telechat.web.visit import Broken, Findings, Look, Visit

if TYPE_CHECKING:
    from playwright.async_api import Browser

MOST_CONTROLS = 40
BOARD = 25  # controls of one look are the cells of a board: some of them stand for all
CELLS = 9
STEP = 1200  # milliseconds of the page's time that using a control and its effect take
PAUSE = 40  # that a button is held
KEYS = ("ArrowUp", "ArrowRight", "ArrowDown", "ArrowLeft", "Space", "Enter", "w", "a", "s", "d")
_TEXTS = {
    "number": "7", "email": "a@example.org", "url": "https://example.org/", "tel": "5550100", "date": "2026-03-04",
    "time": "10:30", "month": "2026-03", "week": "2026-W10", "datetime-local": "2026-03-04T10:30", "color": "#336699",
}  # fmt: skip


@dataclass(frozen=True)
class Control:
    """Something to use. `path` finds it; `kind` is press, tick, type, choose, slide, draw or keys."""

    path: str
    kind: str
    name: str
    tag: str = ""
    type: str = ""
    native: bool = True
    parts: int = 0
    group: str = ""

    def __str__(self) -> str:
        return (
            "the keyboard"
            if self.kind == "keys"
            else f"<{self.tag}> {self.name!r}"
            if self.name
            else f"a nameless <{self.tag}>"
        )


KEYBOARD = Control("", "keys", "keyboard")


@dataclass(frozen=True)
class Operated:
    """`answering` and `dead` of the controls that were used; `found` counts all that there are."""

    found: int
    answering: tuple[Control, ...]
    dead: tuple[Control, ...]


async def controls_of(visit: Visit) -> list[Control]:
    """The controls that are to be seen."""
    return [Control(**found) for found in await visit.ask("find")]


def sample(controls: Sequence[Control]) -> list[Control]:
    """Some of each group of controls that look alike, evenly spread, in their order; few enough to use them all."""
    groups: dict[str, list[Control]] = {}
    for control in controls:
        groups.setdefault(control.group, []).append(control)
    chosen = {c for group in groups.values() for c in (_spread(group, CELLS) if len(group) >= BOARD else group)}
    return _spread([c for c in controls if c in chosen], MOST_CONTROLS)


def _spread(controls: list[Control], most: int) -> list[Control]:
    if len(controls) <= most:
        return controls
    return [controls[round(i * (len(controls) - 1) / (most - 1))] for i in range(most)]


class Operator:
    """Uses the controls of the page `html`; several visits at once, as many as there are processors."""

    def __init__(self, browser: Browser, html: str, findings: Findings) -> None:
        self._browser, self._html, self._findings = browser, html, findings
        self._visits = asyncio.Semaphore(min(4, os.cpu_count() or 1))
        self._untouched: dict[tuple[Control, ...], asyncio.Task[Look | None]] = {}

    async def operate(self, first: Sequence[Control], keys: bool) -> Operated:
        """Use the controls that the fresh page shows, and the ones that using them brings forth."""
        known = {control.path for control in first}
        chosen = sample(first) + ([KEYBOARD] if keys else [])
        live, rest = await self._split((), chosen)
        found, dead = len(first) + keys, {c for c, answers in rest.items() if answers is False}
        for most in (3, MOST_CONTROLS):
            before = tuple(c for c in chosen if c in live)[:most]
            if not before:
                break
            new = [c for c in await self._shown_after(before) if c.path not in known]
            known |= {c.path for c in new}
            found += len(new)
            more = sample(new)
            chosen += more
            now_live, rest = await self._split(before, [*rest, *more])
            live |= now_live
            dead = (dead | {c for c, answers in rest.items() if answers is False}) - live
        if live:
            dead.discard(KEYBOARD)  # a page may listen for keys that are not tried
        return Operated(found, tuple(c for c in chosen if c in live), tuple(c for c in chosen if c in dead))

    async def _split(
        self, before: tuple[Control, ...], controls: Sequence[Control]
    ) -> tuple[set[Control], dict[Control, bool | None]]:
        """The controls that answer, and the others: False where it was used in vain, None where it cannot be reached."""
        answers = await asyncio.gather(*(self._effect(before, control) for control in controls))
        told = dict(zip(controls, answers, strict=True))
        return {c for c, answer in told.items() if answer}, {c: answer for c, answer in told.items() if not answer}

    async def _shown_after(self, before: tuple[Control, ...]) -> list[Control]:
        try:
            async with self._visits, Visit(self._browser, self._html, self._findings) as visit:
                await self._repeat(visit, before)
                return await controls_of(visit)
        except Broken:
            return []

    async def _effect(self, before: tuple[Control, ...], control: Control) -> bool | None:
        """Whether using `control` after the others changes anything; None where it is not there or covered."""
        try:
            async with self._visits, Visit(self._browser, self._html, self._findings) as visit:
                await self._repeat(visit, before)
                points = await _reach(visit, control)
                if points is None:
                    return None
                place = await visit.run("[scrollX, scrollY]")
                await _use(visit, control, points)
                moved = await visit.run("[scrollX, scrollY]") != place
                seen = await visit.look()
        except Broken:
            return None  # told under another rule
        untouched = await self._without((*before, control) if place != [0, 0] else before, place != [0, 0])
        return untouched is not None and (moved or seen.differs(untouched))

    async def _without(self, used: tuple[Control, ...], scrolled: bool) -> Look | None:
        """The same visit with the last control only scrolled to, or without it; made once."""
        key = used if scrolled else (*used, KEYBOARD)
        if key not in self._untouched:
            self._untouched[key] = asyncio.ensure_future(self._look_without(used, scrolled))
        return await self._untouched[key]

    async def _look_without(self, used: tuple[Control, ...], scrolled: bool) -> Look | None:
        before = used[:-1] if scrolled else used
        try:
            async with self._visits, Visit(self._browser, self._html, self._findings) as visit:
                await self._repeat(visit, before)
                if scrolled:
                    await _reach(visit, used[-1])
                await visit.do(visit.page.mouse.move(1, 1), "moving the pointer")
                await visit.advance(STEP)
                return await visit.look()
        except Broken:
            return None

    async def _repeat(self, visit: Visit, before: tuple[Control, ...]) -> None:
        await visit.advance(STEP)
        for control in before:
            points = await _reach(visit, control)
            if points is not None:
                await _use(visit, control, points)


async def _reach(visit: Visit, control: Control) -> list[dict[str, float]] | None:
    """Points of the control that are not covered, after scrolling to it."""
    return [{"x": 1, "y": 1}] if control.kind == "keys" else await visit.ask("reach", control.path)


async def _use(visit: Visit, control: Control, points: list[dict[str, float]]) -> None:
    """Use the control, and wait until `STEP` is over."""
    end = visit.time + STEP
    await _handle(visit, control, points)
    await visit.do(visit.page.mouse.move(1, 1), f"using {control}")
    await visit.advance(end - visit.time)


async def _handle(visit: Visit, control: Control, points: list[dict[str, float]]) -> None:
    """What a person would do with it. Keys are held for as long as a game takes to see them."""
    page, doing = visit.page, f"using {control}"
    if control.kind == "keys":
        for key in KEYS:
            await visit.do(page.keyboard.down(key), doing)
            await visit.advance(2 * PAUSE)
            await visit.do(page.keyboard.up(key), doing)
        return
    if control.kind == "choose":
        last = "select => { select.selectedIndex = (select.selectedIndex + 1) % select.options.length; }"
        tell = "select => ['input', 'change'].forEach(kind => select.dispatchEvent(new Event(kind, { bubbles: true })))"
        await visit.do(page.eval_on_selector(control.path, last), doing)
        await visit.do(page.eval_on_selector(control.path, tell), doing)
        return
    spots = points if control.kind == "draw" or (control.parts >= 4 and not control.native) else points[:1]
    for spot in spots:
        await visit.do(page.mouse.move(spot["x"], spot["y"]), doing)
        await visit.do(page.mouse.down(), doing)
        await visit.advance(PAUSE)
        await visit.do(page.mouse.up(), doing)
    if control.kind == "type":
        await visit.do(page.fill(control.path, _TEXTS.get(control.type, "tea 7"), timeout=5000), doing)
    elif control.kind == "slide":
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            await visit.do(page.keyboard.press(key), doing)
