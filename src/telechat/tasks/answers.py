"""Reading answers: strict enough that echo and enumeration fail, lenient about everything that does not matter."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable

from telechat.core.types import Message, Rule, Verdict

_NUMBER = re.compile(r"(?<![A-Za-z0-9_.,])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![0-9_]|[eE][-+]?\d|[,.]\d)")
_MINUS = re.compile("\N{MINUS SIGN}|\N{EN DASH}(?=[0-9])")
_WHOLE = re.compile(r"\.0+$")
_DENIED = re.compile(r"\b(?:not|never|cannot)\b|n['’]t\b|不是|不等于|不为|不会是|不应|并非", re.IGNORECASE)
_FENCE = re.compile(r"```[^\n`]*\n(.*?)\n?```", re.DOTALL)
MAX_CHARACTERS = 2000


def plain(text: str | None) -> str:
    """`text` with full-width forms folded and outer white space removed. What is too long to pass is cut."""
    return unicodedata.normalize("NFKC", (text or "")[: MAX_CHARACTERS + 1]).strip()


def content_rules(message: Message) -> list[Rule]:
    """What every answer in plain text must meet: something is said, within bounds, and no tool is called."""
    text = message.content or ""
    return [
        Rule("answered", message.role == "assistant" and bool(text.strip()), text[:60]),
        Rule("length", len(text) <= MAX_CHARACTERS, f"{len(text)} characters"),
        Rule("no call", not message.tool_calls, ", ".join(call.name for call in message.tool_calls)[:60]),
    ]


def judged(message: Message, *rules: Rule) -> Verdict:
    """The verdict of the common rules and `rules`."""
    return Verdict.of(*content_rules(message), *rules)


def one_number(text: str | None) -> int | None:
    """The one integer that `text` commits to: its only number (said twice or once), or the only one after its only
    equals sign."""
    text = _MINUS.sub("-", plain(text))
    _, equals, tail = text.partition("=")
    if equals:
        text = tail
    numbers = {_WHOLE.sub("", number.replace(",", "").removeprefix("+")) for number in _NUMBER.findall(text)}
    if "=" in text or len(numbers) != 1 or len(text) > 80 or _DENIED.search(text):
        return None
    number = numbers.pop()
    return None if "." in number or len(number) > 20 else int(number)


def number_rule(text: str | None, want: int) -> Rule:
    """The answer commits to the number `want`."""
    got = one_number(text)
    return Rule("number", got == want, f"got {got}, want {want}")


def has(text: str, word: str, ignore_case: bool = True) -> bool:
    """Whether `text` holds `word` as a whole word (Chinese: as a part)."""
    return _whole(word, ignore_case).search(text) is not None


@functools.cache
def _whole(word: str, ignore_case: bool) -> re.Pattern[str]:
    pattern = re.escape(word)
    if word[:1].isascii():
        pattern = r"(?<![A-Za-z0-9_])" + pattern
    if word[-1:].isascii():
        pattern += r"(?![A-Za-z0-9_])"
    return re.compile(pattern, re.IGNORECASE if ignore_case else 0)


def denied(text: str, word: str, ignore_case: bool = True) -> bool:
    """Whether `text` says that it is not `word`, or that `word` is not it."""
    whole = _whole(word, ignore_case).pattern
    before = rf"(?:\b(?:not|never)\s|n['’]t\s|不是|不|非)[\s“\"']*(?:an?\s|the\s)?{whole}"
    after = rf"{whole}[\s”\"']*(?:is not\b|isn['’]t\b|was not\b|并?不是)"
    return re.search(f"{before}|{after}", text, re.IGNORECASE if ignore_case else 0) is not None


def has_any(text: str, words: Iterable[str]) -> bool:
    """Whether `text` holds one of `words`."""
    return any(has(text, word) for word in words)


def code_of(text: str | None) -> str | None:
    """The code in an answer: the one fenced block, or the whole text when nothing is fenced; None when there are several."""
    text = (text or "")[: MAX_CHARACTERS + 1].replace("\r\n", "\n").strip("\n")
    if "```" not in text:
        return text if text.strip() else None
    blocks = _FENCE.findall(text)
    return blocks[0] if len(blocks) == 1 else None
