"""One browser for the tests of this room, and pages that are right or wrong in one thing."""

from __future__ import annotations

import asyncio

import pytest

from telechat.web.browser import available, open_browser


@pytest.fixture(scope="module")
def in_browser():
    """`in_browser(work)` runs the coroutine function `work(browser)`."""
    if not available():
        pytest.skip("no browser to check pages with")
    loop = asyncio.new_event_loop()
    opened = open_browser()
    browser = loop.run_until_complete(opened.__aenter__())
    yield lambda work: loop.run_until_complete(work(browser))
    loop.run_until_complete(opened.__aexit__(None, None, None))
    loop.close()
