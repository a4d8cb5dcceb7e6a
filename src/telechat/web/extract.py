"""The HTML document in a file or in what a model answered."""

from __future__ import annotations

import re

from telechat.core.errors import UserError

_FENCE = re.compile(r"```[ \t]*(?:html|htm)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL | re.IGNORECASE)
_DOCUMENT = re.compile(r"(?:<!doctype html|<html)\b.*?(?:</html\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[a-z!]", re.IGNORECASE)


def page_of(text: str) -> str:
    """The last HTML document of `text`: a whole file, a fenced block of an answer, or what stands between html tags.

    Thinking before it is dropped. Raises `UserError` where there is none.
    """
    if _DOCUMENT.match(text.lstrip("\ufeff \t\r\n")):  # a file, which may speak of thinking itself
        return text
    answer = text.rpartition("</think>")[2]
    if answer.lstrip().startswith("<think>"):
        raise UserError("it holds thinking that does not end, and no page")
    if _TAG.match(answer.lstrip("\ufeff \t\r\n")):
        return answer
    fenced = [block for block in _FENCE.findall(answer) if _TAG.match(block.lstrip())]
    documents = [block for block in fenced if _DOCUMENT.search(block)] or fenced or _DOCUMENT.findall(answer)
    if not documents:
        raise UserError("there is no HTML document in it: give an .html file, or an answer that holds one")
    return documents[-1]
