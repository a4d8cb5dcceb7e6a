"""A Chromium that reaches no network, for pages that others wrote."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import psutil

from telechat.core.errors import UserError
from telechat.web import confined

if TYPE_CHECKING:
    from playwright.async_api import Browser

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""Programs that are looked for, the cheapest first (a headless shell takes a third of the processor time)."""

MEMORY, ALL_MEMORY = 2**30, 3 * 2**30  # bytes that one page, and the whole browser, may take

HOW_TO_INSTALL = "pip install 'telechat[web]', and a Chromium: apt-get install chromium-headless-shell"

_ARGUMENTS = [
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-breakpad",
    "--js-flags=--max-old-space-size=256",
    # three walls before the network, beside the routes of each context: names, a proxy that is not there, WebRTC
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=127.0.0.1:9",
    "--proxy-bypass-list=<-loopback>",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
]


def find_browser() -> str | None:
    """The path of a Chromium on this machine."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


def available() -> bool:
    """Whether pages can be checked here: the extra is installed and there is a browser."""
    return all(map(importlib.util.find_spec, ("playwright", "PIL"))) and find_browser() is not None


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A browser for untrusted pages; raises `UserError` where there is none."""
    program = find_browser()
    if program is None or not available():
        raise UserError(f"no browser to check pages with: {HOW_TO_INSTALL}")
    from playwright.async_api import Error, async_playwright

    with tempfile.TemporaryDirectory(prefix="telechat-web-") as folder:
        async with async_playwright() as playwright:
            try:
                browser = await playwright.chromium.launch(
                    executable_path=_starter(Path(folder), program), args=_ARGUMENTS, chromium_sandbox=True
                )
            except Error as error:
                raise UserError(f"{program} does not start: {error.message.splitlines()[0]}") from None
            watch = asyncio.ensure_future(_watch_memory())
            try:
                yield browser
            finally:
                watch.cancel()
                await browser.close()


async def _watch_memory() -> None:
    """End pages that take more than a page needs, and the largest one where all of the browser takes too much.

    Chromium's own limit is on JavaScript's heap, and the bytes of an `ArrayBuffer` are not in it. A page that is ended
    so is told to have crashed.
    """
    while True:
        sizes: list[tuple[int, psutil.Process]] = []
        everything = 0
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                size = process.memory_info().rss
                everything += size
                if any("--type=renderer" in argument for argument in process.cmdline()):
                    sizes.append((size, process))
        sizes.sort(key=lambda pair: pair[0], reverse=True)
        for rank, (size, process) in enumerate(sizes):
            if size > MEMORY or (rank == 0 and everything > ALL_MEMORY):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        await asyncio.sleep(0.25)


def _starter(folder: Path, program: str) -> Path:
    """A program that starts the browser confined; Playwright takes a path and nothing else."""
    starter = folder / "browser"
    starter.write_text(f'#!/bin/sh\nexec {quote(sys.executable)} -I {quote(confined.__file__)} {quote(program)} "$@"\n')
    os.chmod(starter, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return starter
