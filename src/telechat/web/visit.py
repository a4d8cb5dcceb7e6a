"""One visit to a page: a fresh browser context, its own clock, no network, and a note of all that goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from PIL.Image import Image
    from playwright.async_api import Browser, BrowserContext, Dialog, Page, Request, Route, WebSocketRoute

ADDRESS = "https://artifact.test/"
"""Where the page is: a secure origin of its own with storage, that exists nowhere."""

SECONDS = 10.0  # that any one step may take, of real time
MOST_DIALOGS = 20
MOST_NOTED = 20  # messages of a kind
VISIBLE, FEWEST_PIXELS = 8, 4  # of 256 levels, and how many pixels of such a difference can be seen
DESKTOP = (1000, 700)
PHONE = (390, 844)
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"

_ROOM = files("telechat.web")
_CLOCK = (_ROOM / "clock.js").read_text()
_CONTROLS = (_ROOM / "controls.js").read_text()

_REFUSED = ("Failed to load resource", "Failed to fetch", "WebSocket connection to")
"""How a refused request shows on the console; it is told under its own rule."""

T = TypeVar("T")


class Broken(Exception):
    """The page hangs, has crashed or has been left; the visit is over, and `Findings` says why."""


@dataclass
class Findings:
    """What went wrong, over all visits to a page; each message once, in the order of their coming."""

    errors: dict[str, None] = field(default_factory=dict)
    left: dict[str, None] = field(default_factory=dict)
    broken: dict[str, None] = field(default_factory=dict)

    @staticmethod
    def note(where: dict[str, None], message: str) -> None:
        """Keep a message, within limits."""
        if len(where) < MOST_NOTED:
            where[" ".join(message.split())[:200]] = None


@dataclass(frozen=True)
class Look:
    """What is to be seen: the picture, and the text, fields and effects behind it."""

    picture: Image
    state: str

    def differs(self, other: Look) -> bool:
        """Whether a person could tell the two apart."""
        return self.state != other.state or differ(self.picture, other.picture)


def differ(one: Image, other: Image) -> bool:
    """Whether two pictures differ by more than the rounding of edges, which what was drawn before has a part in."""
    from PIL import ImageChops

    levels = ImageChops.difference(one, other).convert("L").histogram()
    return one.size != other.size or sum(levels[VISIBLE:]) >= FEWEST_PIXELS


class Visit:
    """The page `html` in a context of its own. Use with `async with`; raises `Broken` when the page does."""

    def __init__(self, browser: Browser, html: str, findings: Findings, size: tuple[int, int] = DESKTOP) -> None:
        self._browser, self._html, self._findings, self._size = browser, html, findings, size
        self._name = f"_{secrets.token_hex(8)}"
        self.time = 0  # the page's, in milliseconds
        self._dialogs = 0
        self._doing = "loading"
        self._over = asyncio.Event()
        self._context: BrowserContext
        self.page: Page

    async def __aenter__(self) -> Visit:
        width, height = self._size
        self._context = await self._browser.new_context(
            viewport={"width": width, "height": height}, user_agent=AGENT, locale="en-US", service_workers="block"
        )
        try:
            await self._prepare()
            await self._bounded(self.page.goto(ADDRESS, wait_until="load", timeout=SECONDS * 1000))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._close()

    async def _close(self) -> None:
        from playwright.async_api import Error

        with contextlib.suppress(Error, TimeoutError):  # one that does not close ends with the browser
            await asyncio.wait_for(self._context.close(), SECONDS)

    async def _prepare(self) -> None:
        await self._context.route("**/*", self._answer)
        await self._context.route_web_socket("**/*", self._refuse_socket)
        hide = "Object.defineProperty(Navigator.prototype, 'webdriver', { get: () => false });\n"
        await self._context.add_init_script(hide + _CLOCK.replace('"NAME"', json.dumps(self._name)))
        self.page = await self._context.new_page()
        self._context.on("page", self._close_window)
        self.page.on("pageerror", lambda error: self._take_error(error.message or str(error)))
        self.page.on("console", lambda message: self._take_line(message.type, message.text))
        self.page.on("crash", lambda _: self._break("it took too much memory or crashed"))
        self.page.on("dialog", self._dismiss)
        session = await self._context.new_cdp_session(self.page)
        await session.send("Animation.enable")
        await session.send("Animation.setPlaybackRate", {"playbackRate": 0})

    async def _answer(self, route: Route) -> None:
        request = route.request
        if request.url.split("#")[0].split("?")[0] == ADDRESS and request.is_navigation_request():
            await route.fulfill(body=self._html, content_type="text/html; charset=utf-8")
        elif request.url == ADDRESS + "favicon.ico":
            await route.fulfill(status=204)
        elif request.is_navigation_request() and self._of_a_page(request):
            self._findings.note(self._findings.left, f"went to {request.url}")
            await route.fulfill(status=204)  # the page stays where it is
        else:
            self._findings.note(self._findings.left, f"asked for {request.url}")
            await route.abort()

    def _of_a_page(self, request: Request) -> bool:
        """Whether a navigation is the page's own or a new window's, and not a frame's in it."""
        from playwright.async_api import Error

        try:
            return request.frame.parent_frame is None
        except Error:  # a new window has no frame yet
            return True

    async def _refuse_socket(self, socket: WebSocketRoute) -> None:
        self._findings.note(self._findings.left, f"opened a socket to {socket.url}")
        await socket.close()

    async def _close_window(self, window: Page) -> None:
        self._findings.note(self._findings.left, "opened another window")
        await window.close()

    def _take_line(self, level: str, text: str) -> None:
        if level == "error":
            self._take_error(text)

    def _take_error(self, text: str) -> None:
        if not text.startswith(_REFUSED):
            self._findings.note(self._findings.errors, text)

    async def _dismiss(self, dialog: Dialog) -> None:
        self._dialogs += 1
        if self._dialogs > MOST_DIALOGS:
            self._break("it shows one dialog after the other")
        await dialog.dismiss()

    def _break(self, why: str) -> None:
        self._findings.note(self._findings.broken, f"{self._doing}: {why}")
        self._over.set()

    async def _bounded(self, step: Awaitable[T]) -> T:
        """Do a step, unless the page is over or takes too long for it."""
        from playwright.async_api import Error

        task = asyncio.ensure_future(step)
        over = asyncio.ensure_future(self._over.wait())
        try:
            done, _ = await asyncio.wait((task, over), timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if task in done and not self._over.is_set():
                return task.result()
            if not done:
                self._break(f"it does not answer for {SECONDS:.0f} seconds")
        except Error as error:
            if not self._over.is_set():
                self._break(error.message.splitlines()[0])
        finally:
            over.cancel()
            task.cancel()
            await asyncio.gather(task, over, return_exceptions=True)
        raise Broken

    async def ask(self, question: str, *arguments: Any) -> Any:
        """A function of `controls.js`."""
        script = _CONTROLS.replace('"NAME"', json.dumps(self._name))
        given = ", ".join(json.dumps(argument) for argument in arguments)
        return await self._bounded(self.page.evaluate(f"({script.rstrip().rstrip(';')}).{question}({given})"))

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        return await self._bounded(self.page.evaluate(script))

    async def do(self, step: Awaitable[Any], doing: str) -> None:
        """One step of a person, named for the findings."""
        self._doing = doing
        await self._bounded(step)

    async def advance(self, milliseconds: int) -> None:
        """Let the page's time go on."""
        self.time += milliseconds
        if not await self.run(f"window[{json.dumps(self._name)}].advance({milliseconds})"):
            self._break("its timers never come to rest")
            raise Broken

    async def picture(self) -> Image:
        """What is to be seen in the window."""
        from PIL import Image

        png = await self._bounded(self.page.screenshot(type="png", timeout=SECONDS * 1000))
        return Image.open(io.BytesIO(png)).convert("RGB")

    async def look(self) -> Look:
        """What is to be seen now, from the top of the page, with nothing under the pointer and nothing in focus."""
        await self.run("(document.activeElement?.blur(), scrollTo({ top: 0, left: 0, behavior: 'instant' }))")
        state = await self.ask("state")
        return Look(await self.picture(), state)
