"""Uses the controls of a page, each in a visit of its own, and tells which of them answer.

What a control does is the difference from the same visit without it: time and chance are the same in both. One that
does nothing on the fresh page (a reset, an equals sign, the tab that is open already, what a start screen covers) is
tried again: after a control beside it, after a few that do something, and after all of them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telechat.web.visit import Broken, Findings, Look, Visit

if TYPE_CHECKING:
    from playwright.async_api import Browser

MOST_CONTROLS = 40
BOARD = 25  # controls of one look are the cells of a board: some of them stand for all
CELLS = 9
MOST_BREAKS = 4  # visits that hang or crash; then the page is not used any more
SECONDS = 120.0  # of real time for all of it, which only pages that are slow themselves need
STEP = 1200  # milliseconds of the page's time that using a control and its effect take
PAUSE = 50  # that a button is held
GLANCE = 300  # after which what can be read is compared for the first time: some answers go away again
KEYS = ("ArrowUp", "ArrowRight", "ArrowDown", "ArrowLeft", "Space", "Enter", "w", "a", "s", "d")


@dataclass(frozen=True)
class Control:
    """Something to use. `path` finds it; `kind` is press, double, tick, type, choose, slide, draw or keys. `value` is
    what is typed into it."""

    path: str
    kind: str
    name: str
    tag: str = ""
    value: str = ""
    native: bool = True
    parts: int = 0
    group: str = ""

    def __str__(self) -> str:
        if self.kind == "keys":
            return "the keyboard"
        return f"<{self.tag}> {self.name!r}" if self.name else f"a nameless <{self.tag}>"


KEYBOARD = Control("", "keys", "keyboard")


@dataclass(frozen=True)
class Operated:
    """`answering` and `dead` of the controls that were used; `found` counts all that there are."""

    found: int
    answering: tuple[Control, ...]
    dead: tuple[Control, ...]


@dataclass(frozen=True)
class Seen:
    """What a visit showed in the end, and what could be read a moment after the last control (None: it took longer)."""

    look: Look
    glance: str | None


Answers = dict[Control, bool | None]
"""Whether a control answers; None where it could not be used, or where it cannot be said."""


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
        self._untouched: dict[tuple[tuple[Control, ...], Control | None], asyncio.Task[Seen | None]] = {}
        self._end = time.monotonic() + SECONDS

    async def operate(self, first: Sequence[Control], keys: bool) -> Operated:
        """Use the controls that the fresh page shows, and the ones that using them brings forth."""
        known = {control.path for control in first}
        chosen = sample(first) + ([KEYBOARD] if keys else [])
        found = len(first) + keys
        told: Answers = {}
        _take(told, await self._answers({control: () for control in chosen}))
        _take(told, await self._answers(_after_neighbours(chosen, told)))
        for most in (3, MOST_CONTROLS):
            before = tuple(c for c in chosen if told[c])[:most]
            if not before:
                break
            new = [c for c in await self._shown_after(before) if c.path not in known]
            known |= {c.path for c in new}
            found += len(new)
            more = sample(new)
            chosen += more
            told |= {control: None for control in more}
            _take(told, await self._answers({control: before for control in chosen if not told[control]}))
        live = tuple(c for c in chosen if told[c])
        if live:
            told[KEYBOARD] = None  # a page may listen for keys that are not tried
        return Operated(found, live, tuple(c for c in chosen if told[c] is False))

    async def _answers(self, tries: dict[Control, tuple[Control, ...]]) -> Answers:
        """What each control does after those that it is to come after."""
        answers = await asyncio.gather(*(self._effect(before, control) for control, before in tries.items()))
        return dict(zip(tries, answers, strict=True))

    async def _shown_after(self, before: tuple[Control, ...]) -> list[Control]:
        try:
            async with self._visits, Visit(self._browser, self._html, self._findings) as visit:
                await self._repeat(visit, before)
                return await controls_of(visit)
        except Broken:
            return []

    async def _effect(self, before: tuple[Control, ...], control: Control) -> bool | None:
        """Whether using `control` after the others changes anything; None where it is not there or covered."""
        if self._findings.breaks >= MOST_BREAKS or self._late():
            return None
        try:
            async with self._visits, Visit(self._browser, self._html, self._findings) as visit:
                await self._repeat(visit, before)
                place = await _reach(visit, control)
                if place is None:
                    return None
                refused = (await visit.told())[1]
                glance = await _use(visit, control, place["points"])
                seen = Seen(await visit.look(), glance)
                missing = (await visit.told())[1] > refused
        except Broken:
            return None  # told under another rule
        untouched = await self._without(before, control if place["scrolled"] else None)
        if untouched is None:
            return None
        if seen.glance not in (None, untouched.glance) or seen.look.differs(untouched.look):
            return True
        return None if missing else False  # the browser itself has said that something is missing

    def _late(self) -> bool:
        late = time.monotonic() > self._end
        if late:
            Findings.note(self._findings.broken, f"using it took more than {SECONDS:.0f} seconds")
        return late

    async def _without(self, before: tuple[Control, ...], reached: Control | None) -> Seen | None:
        """The same visit without the last control, which is only scrolled to; made once."""
        key = (before, reached)
        if key not in self._untouched:
            self._untouched[key] = asyncio.ensure_future(self._see_without(before, reached))
        return await self._untouched[key]

    async def _see_without(self, before: tuple[Control, ...], reached: Control | None) -> Seen | None:
        try:
            async with self._visits, Visit(self._browser, self._html, self._findings) as visit:
                await self._repeat(visit, before)
                if reached is not None:
                    await _reach(visit, reached)
                glance = await _use(visit, None, [])
                return Seen(await visit.look(), glance)
        except Broken:
            return None

    async def _repeat(self, visit: Visit, before: tuple[Control, ...]) -> None:
        await visit.advance(STEP)
        for control in before:
            place = await _reach(visit, control)
            if place is not None:
                await _use(visit, control, place["points"])


def _take(told: Answers, answers: Answers) -> None:
    """A control that answers once is alive; one that was used in vain once, and never answered, is dead."""
    for control, answer in answers.items():
        if answer or told.get(control) is None:
            told[control] = answer


def _after_neighbours(chosen: Sequence[Control], told: Answers) -> dict[Control, tuple[Control, ...]]:
    """The dead ones that have a live control beside them, which may have to come first: tabs, filters, choices. The next
    one behind is taken, else the next one before."""
    tries: dict[Control, tuple[Control, ...]] = {}
    for number, control in enumerate(chosen):
        if told[control] is False and control.path:
            around = (*chosen[number + 1 :], *reversed(chosen[:number]))
            beside = [c for c in around if told[c] and c.path and _parent(c) == _parent(control)]
            if beside:
                tries[control] = (beside[0],)
    return tries


def _parent(control: Control) -> str:
    """The element around a control; a field's is the one around its label."""
    outer = control.path.rpartition(">")[0]
    return outer.rpartition(">")[0] if outer.rpartition(">")[2].startswith(("label", "li")) else outer


async def _reach(visit: Visit, control: Control) -> dict | None:
    """Points of the control that are not covered, after scrolling to it, and whether anything was scrolled for it."""
    if control.kind == "keys":
        return {"points": [], "scrolled": False}
    return await visit.ask("reach", control.path, control.kind)


async def _use(visit: Visit, control: Control | None, points: list[dict[str, float]]) -> str | None:
    """Use the control, or none, and wait until `STEP` is over; what could be read after `GLANCE`."""
    end, glance = visit.time + STEP, None
    if control is not None:
        await _handle(visit, control, points)
    if visit.time <= end - STEP + GLANCE:
        await visit.advance(end - STEP + GLANCE - visit.time)
        glance = await visit.ask("text")
    await visit.do(visit.page.mouse.move(1, 1), f"using {control}" if control else "moving the pointer")
    await visit.advance(end - visit.time)
    return glance


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
        await visit.do(page.eval_on_selector(control.path, _CHOOSE), doing)
        return
    for spot in points if control.parts >= 4 and not control.native else points[:1]:
        await _press(visit, spot, doing)
        if control.kind == "double":
            await visit.do(page.mouse.dblclick(spot["x"], spot["y"]), doing)
    if control.kind == "draw":
        await _drag(visit, points, doing)
    elif control.kind == "type":
        await visit.do(page.fill(control.path, control.value, timeout=3000), doing)
    elif control.kind == "slide":
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            await visit.do(page.keyboard.press(key), doing)


_CHOOSE = """select => {
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  for (const kind of ["input", "change"]) select.dispatchEvent(new Event(kind, { bubbles: true }));
}"""


async def _press(visit: Visit, spot: dict[str, float], doing: str) -> None:
    mouse = visit.page.mouse
    await visit.do(mouse.move(spot["x"], spot["y"]), doing)
    await visit.do(mouse.down(), doing)
    await visit.advance(PAUSE)
    await visit.do(mouse.up(), doing)


async def _drag(visit: Visit, points: list[dict[str, float]], doing: str) -> None:
    mouse = visit.page.mouse
    await visit.do(mouse.move(points[0]["x"], points[0]["y"]), doing)
    await visit.do(mouse.down(), doing)
    for point in points[1:]:
        await visit.do(mouse.move(point["x"], point["y"]), doing)
        await visit.advance(PAUSE)
    await visit.do(mouse.up(), doing)
