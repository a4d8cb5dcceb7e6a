"""The page in a file or an answer."""

from __future__ import annotations

import pytest

from telechat.core.errors import UserError
from telechat.web.extract import page_of

PAGE = "<!doctype html><title>a</title><p>x</p>"


@pytest.mark.parametrize(
    ("text", "page"),
    [
        (PAGE, PAGE),
        ("\n <p>only a part</p>", "\n <p>only a part</p>"),
        (f"Here:\n```html\n{PAGE}\n```\nDone.", PAGE),
        (f"```html\n<p>first</p>\n```\nbetter:\n```html\n{PAGE}\n```", PAGE),
        (f"```html\n{PAGE}\n```\nto style it:\n```css\np {{}}\n```", PAGE),
        (f"I think <html>no</html>\n</think>Yes:\n```\n{PAGE}\n```", PAGE),
        (f"```html\n{PAGE}\n```\nand a part of it:\n```html\n<p>x</p>\n```", PAGE),
        ('<!doctype html><script>x = "</think>"</script>', '<!doctype html><script>x = "</think>"</script>'),
        ("So: <html><p>1</p></html> and then <html><p>2</p></html>.", "<html><p>2</p></html>"),
        (f"cut off:\n```html\n{PAGE}", PAGE),
    ],
)
def test_the_last_document_is_the_page(text, page):
    assert page_of(text) == page


@pytest.mark.parametrize("text", ["", "no page", "```python\nprint('<html>')\n```"[:20], "</think>", "1 < 2"])
def test_no_document_is_said(text):
    with pytest.raises(UserError, match="no HTML document"):
        page_of(text)


def test_thinking_that_does_not_end_is_no_page():
    with pytest.raises(UserError, match="does not end"):
        page_of("<think>I will make a <b>page</b>: <html>")
