"""The verdict on a page, by rules that hold for every page whatever its task.

`loads`, `shows`, `alive`, `no_errors`, `stays` and `answers` must hold for a page to pass; `fits_phone` and `named` only
count. The score is 0 for a page that does not load or shows nothing, else the weighted share of what holds, where
`answers` counts by the share of controls that answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from telechat.core.types import Rule, Verdict
from telechat.web.browser import open_browser
from telechat.web.operate import Control, Operated, Operator, controls_of
from telechat.web.visit import PHONE, Broken, Findings, Visit, differ, printable

if TYPE_CHECKING:
    from playwright.async_api import Browser

WEIGHTS = {
    "loads": 1.0,
    "shows": 1.0,
    "alive": 2.0,
    "no_errors": 2.0,
    "stays": 1.0,
    "answers": 4.0,
    "fits_phone": 0.5,
    "named": 0.5,
}
GATES = ("loads", "shows")
ADVICE = ("fits_phone", "named")
IDLE = 3000  # milliseconds of the page's time that it is watched for before it is used
_HIDE = (
    "void ((document.body ?? document.documentElement).style.cssText += '; transition: none !important; opacity: 0 !important')"
)
_FIELDS = ("type", "choose", "slide", "tick")


async def check_page(html: str) -> Verdict:
    """Open `html` in a browser without a network, use its controls, and grade it.

    Raises `UserError` where no browser is installed.
    """
    async with open_browser() as browser:
        return await check_in(browser, html)


async def check_in(browser: Browser, html: str) -> Verdict:
    """`check_page` in a browser that is open."""
    findings = Findings()
    first = await _first_visit(browser, html, findings)
    if first is None:
        return _verdict([Rule("loads", False, _told(findings.broken))], {})
    shows, controls, keys = first
    rules = [Rule("loads", True), Rule("shows", shows, "" if shows else "the window stays empty")]
    shares = {}
    operated = Operated(0, (), ())
    if shows:
        operated = await Operator(browser, html, findings).operate(controls, keys)
        rules += _answers(operated)
        shares["answers"] = _share(operated)
        rules += [await _fits_phone(browser, html), *_named([*operated.answering, *operated.dead])]
    rules += [
        Rule("no_errors", not findings.errors, _told(findings.errors)),
        Rule("stays", not findings.left, _told(findings.left)),
        Rule("alive", not findings.broken, _told(findings.broken)),
    ]
    return _verdict(rules, shares)


async def _first_visit(browser: Browser, html: str, findings: Findings) -> tuple[bool, list[Control], bool] | None:
    """Whether anything is to be seen, the controls, and whether keys are listened to; None if it does not load."""
    try:
        async with Visit(browser, html, findings) as visit:
            for _ in range(3):  # what comes into sight may begin to move then
                await visit.advance(IDLE // 3)
            seen = (await visit.look()).picture
            keys = await visit.hook("takesKeys()")
            controls = await controls_of(visit)
            await visit.run(_HIDE)  # what is left is the background
            return differ(seen, await visit.picture()), controls, keys
    except Broken:
        return None


async def _fits_phone(browser: Browser, html: str) -> Rule:
    try:
        async with Visit(browser, html, Findings(), PHONE) as visit:
            await visit.advance(IDLE // 3)
            over = await visit.ask("overflow")
    except Broken:
        return Rule("fits_phone", False, "it does not work in a window of a phone's size")
    wide = over["wide"] > 1
    culprit = f", with {printable(over['culprit'])}" if over["culprit"] else ""
    return Rule("fits_phone", not wide, f"{over['wide']} pixels wider than {PHONE[0]}{culprit}" if wide else "")


def _answers(operated: Operated) -> list[Rule]:
    """The rule on controls; none where a page has none, which is no fault."""
    used = len(operated.answering) + len(operated.dead)
    if not used:
        return []
    counted = f"{len(operated.answering)} of {used} used answer; there are {operated.found}"
    dead = f"; nothing happens with {', '.join(map(str, operated.dead))}" if operated.dead else ""
    return [Rule("answers", not operated.dead, counted + dead)]


def _share(operated: Operated) -> float:
    used = len(operated.answering) + len(operated.dead)
    return len(operated.answering) / used if used else 1.0


def _named(controls: Iterable[Control]) -> list[Rule]:
    """Fields and buttons that a screen reader cannot name."""
    told = [c for c in controls if c.native and (c.kind in _FIELDS or c.kind == "press")]
    if not told:
        return []
    nameless = [c for c in told if not c.name]
    return [Rule("named", not nameless, f"{len(nameless)} of {len(told)} have no name" if nameless else "")]


def _told(messages: dict[str, None]) -> str:
    return "; ".join(messages)


def _verdict(rules: list[Rule], shares: dict[str, float]) -> Verdict:
    order = list(WEIGHTS)
    rules = sorted(rules, key=lambda rule: order.index(rule.rule))
    passed = all(rule.passed for rule in rules if rule.rule not in ADVICE)
    if any(rule.rule in GATES and not rule.passed for rule in rules):
        return Verdict(0.0, False, tuple(rules))
    whole = sum(WEIGHTS[rule.rule] for rule in rules)
    held = sum(WEIGHTS[rule.rule] * shares.get(rule.rule, float(rule.passed)) for rule in rules)
    return Verdict(round(held / whole, 4), passed, tuple(rules))
