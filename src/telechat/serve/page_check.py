"""The playground's "check it": the page evaluator on the page that is shown beside a chat.

It runs as a process of its own (`telechat web check`), which is killed when it takes too long or nobody waits for it
any more; the server itself never opens a browser. Pages are checked one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from telechat.core.errors import UserError
from telechat.serve.wire import ApiError, until_client_leaves
from telechat.web.browser import available
from telechat.web.extract import page_of

logger = logging.getLogger(__name__)

SECONDS = 180.0  # for one page
GRACE = 5.0  # to close the browser in
MAX_PAGE = 2**20  # characters
_COMMAND = [sys.executable, "-m", "telechat", "web", "check", "-", "--json"]
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH")
"""What the browser may know of the server's environment: none of its secrets."""


class PageBody(BaseModel):
    """A page to check."""

    model_config = ConfigDict(strict=True)
    html: str = Field(min_length=1, max_length=MAX_PAGE)


def add_page_check(app: FastAPI) -> None:
    """The route, where the evaluator is installed; the page shows its button by the same sign."""
    app.state.page_check = available()
    if not app.state.page_check:
        return
    free = asyncio.Lock()

    @app.post("/playground/check", include_in_schema=False)
    async def check(body: PageBody, request: Request) -> Response:
        if free.locked():
            raise ApiError(429, "another page is being checked; try again", code="busy", headers={"retry-after": "10"})
        try:
            page_of(body.html)
        except UserError as error:
            raise ApiError(400, str(error), "html") from None
        async with free:
            verdict = await until_client_leaves(request.receive, _verdict(body.html))
        return Response(verdict, media_type="application/json")


async def _verdict(html: str) -> bytes:
    """What the evaluator says, as JSON; raises `ApiError` when it fails or takes too long."""
    with tempfile.TemporaryDirectory(prefix="telechat-check-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)  # the browser runs as another user, and its profile is in there
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"TMPDIR": folder},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(SECONDS):
                out, errors = await process.communicate(html.encode("utf-8", "replace"))
        except TimeoutError:
            raise ApiError(504, f"the check took more than {SECONDS:.0f} seconds") from None
        finally:
            await asyncio.shield(_end(process))
    told = errors.decode(errors="replace").strip()
    if process.returncode != 0:
        logger.error("the page evaluator failed: %s", told)
        raise ApiError(500, told.removeprefix("telechat: ") if process.returncode == 2 else "the page evaluator failed")
    return out


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a check that nobody waits for: by asking, so that it closes its browser, then by force."""
    for number, patience in ((signal.SIGINT, GRACE), (signal.SIGKILL, None)):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience)
