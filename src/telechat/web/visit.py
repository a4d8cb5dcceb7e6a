"""One visit to a page: a fresh browser context, its own clock, no network, and a note of all that goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from PIL.Image import Image
    from playwright.async_api import Browser, BrowserContext, CDPSession, Dialog, Page, Request, Route, WebSocketRoute

ADDRESS = "https://artifact.test/"
"""Where the page is: a secure origin of its own with storage, that exists nowhere."""

SECONDS = 10.0  # that any one step may take, of real time
MOST_DIALOGS = 20  # that one step may show
MOST_LOADS = 5  # of the page in one step: it may load itself anew, but not again and again
MOST_NOTED = 20  # messages of a kind
VISIBLE, FEWEST_PIXELS = 8, 4  # of 256 levels, and how many pixels of such a difference can be seen
DESKTOP = (1000, 700)
PHONE = (390, 844)
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"

_ROOM = files("telechat.web")
_CLOCK = (_ROOM / "clock.js").read_text()
_CONTROLS = (_ROOM / "controls.js").read_text().rstrip().rstrip(";")
_HIDE = "Object.defineProperty(Navigator.prototype, 'webdriver', { get: () => false });\n"
_REFUSED = ("Failed to load resource", "Failed to fetch", "WebSocket connection to")
"""How a refused request shows on the console; it is told under its own rule."""
_LEFT = ("context was destroyed", "Cannot find context", "navigating", "frame was detached")
"""What the browser says of a question to a document that has just been replaced."""

T = TypeVar("T")


class Broken(Exception):
    """The page hangs or has crashed; the visit is over, and `Findings` says why."""


@dataclass
class Findings:
    """What went wrong, over all visits to a page; each message once, in the order of their coming."""

    errors: dict[str, None] = field(default_factory=dict)
    left: dict[str, None] = field(default_factory=dict)
    broken: dict[str, None] = field(default_factory=dict)
    breaks: int = 0  # visits that ended so

    @staticmethod
    def note(where: dict[str, None], message: str) -> None:
        """Keep a message, within limits and in letters that do nothing to a terminal."""
        if len(where) < MOST_NOTED:
            where[printable(message)[:200]] = None


def printable(text: str) -> str:
    """`text`, which others wrote, on one line, without control characters and halves of surrogate pairs."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


@dataclass(frozen=True)
class Look:
    """What is to be seen: the picture, and what can be read, was entered, scrolled to or set off."""

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


def _while_open() -> AbstractContextManager[None]:
    """For what comes of itself: the page may be closed by then."""
    from playwright.async_api import Error

    return contextlib.suppress(Error)


class Visit:
    """The page `html` in a context of its own. Use with `async with`; raises `Broken` when the page does."""

    def __init__(self, browser: Browser, html: str, findings: Findings, size: tuple[int, int] = DESKTOP) -> None:
        self._browser, self._html, self._findings, self._size = browser, html, findings, size
        self._name = f"_{secrets.token_hex(8)}"
        self.time = 0  # the page's, in milliseconds
        self._doing = "loading"
        self._over = asyncio.Event()
        self._dialogs = self._loads = self._effects = 0
        self._at_step = (0, 0)  # dialogs and loads before the present step
        self._world: int | None = None
        self._context: BrowserContext
        self._session: CDPSession
        self.page: Page

    async def __aenter__(self) -> Visit:
        width, height = self._size
        self._context = await asyncio.wait_for(
            self._browser.new_context(
                viewport={"width": width, "height": height},
                user_agent=AGENT,
                locale="en-US",
                service_workers="block",
                accept_downloads=False,
            ),
            3 * SECONDS,
        )
        try:
            await asyncio.wait_for(self._prepare(), 3 * SECONDS)
            await self._bounded(self.page.goto(ADDRESS, wait_until="load", timeout=SECONDS * 1000))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._close()

    async def _close(self) -> None:
        with _while_open(), contextlib.suppress(TimeoutError):  # one that does not close ends with the browser
            await asyncio.wait_for(self._context.close(), SECONDS)

    async def _prepare(self) -> None:
        await self._context.route("**/*", self._answer)
        await self._context.route_web_socket("**/*", self._refuse_socket)
        await self._context.add_init_script(_HIDE + _CLOCK.replace("NAME", self._name))
        self.page = await self._context.new_page()
        self._context.on("page", self._close_window)
        self.page.on("pageerror", lambda error: self._take_error(error.message or str(error)))
        self.page.on("console", lambda message: self._take_line(message.type, message.text))
        self.page.on("crash", lambda _: self._break("it took too much memory or crashed"))
        self.page.on("dialog", self._agree)
        self.page.on("download", self._count)
        self.page.on("filechooser", self._count)
        self._session = await self._context.new_cdp_session(self.page)
        await self._session.send("Animation.enable")
        await self._session.send("Animation.setPlaybackRate", {"playbackRate": 0})

    async def _answer(self, route: Route) -> None:
        with _while_open():
            await self._reply(route)

    async def _reply(self, route: Route) -> None:
        request = route.request
        if request.url.split("#")[0].split("?")[0] == ADDRESS and request.is_navigation_request():
            self._loads += 1
            self._world = None
            if self._loads - self._at_step[1] > MOST_LOADS:
                self._break("it loads itself again and again")
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
        with _while_open():
            await socket.close()

    async def _close_window(self, window: Page) -> None:
        self._findings.note(self._findings.left, "opened another window")
        with _while_open():
            await window.close()

    def _take_line(self, level: str, text: str) -> None:
        if level == "error":
            self._take_error(text)

    def _take_error(self, text: str) -> None:
        if not text.startswith(_REFUSED):
            self._findings.note(self._findings.errors, text)

    async def _agree(self, dialog: Dialog) -> None:
        self._dialogs += 1
        if self._dialogs - self._at_step[0] > MOST_DIALOGS:
            self._break("it shows one dialog after the other")
        with _while_open():
            await dialog.accept("tea 7" if dialog.type == "prompt" else None)

    def _count(self, _: object) -> None:
        self._effects += 1  # a file offered or asked for

    def _break(self, why: str) -> None:
        self._findings.note(self._findings.broken, f"{self._doing}: {why}")
        self._findings.breaks += not self._over.is_set()
        self._over.set()

    async def _bounded(self, step: Awaitable[T]) -> T:
        """Do a step, unless the page is over or takes too long for it. Raises `Broken`, and what Playwright raises."""
        task = asyncio.ensure_future(step)
        over = asyncio.ensure_future(self._over.wait())
        try:
            done, _ = await asyncio.wait((task, over), timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if task in done and not self._over.is_set():
                return task.result()
            if not done:
                self._break(f"it does not answer for {SECONDS:.0f} seconds")
        finally:
            over.cancel()
            task.cancel()
            await asyncio.gather(task, over, return_exceptions=True)
        raise Broken

    async def _settled(self, make: Callable[[], Awaitable[T]]) -> T:
        """What the page answers; asked again where it has loaded itself anew meanwhile."""
        from playwright.async_api import Error

        for _ in range(MOST_LOADS):
            try:
                return await self._bounded(make())
            except Error as error:
                if not any(sign in error.message for sign in _LEFT):
                    self._break(error.message.splitlines()[0])
                    break
                self._world = None
                with _while_open():
                    await self._bounded(self.page.wait_for_load_state("load", timeout=SECONDS * 1000))
        raise Broken

    async def ask(self, question: str, *arguments: Any) -> Any:
        """A function of `controls.js`, in a world that the page has no part in."""
        given = ", ".join(json.dumps(argument) for argument in arguments)
        script = f"({_CONTROLS.replace('NAME', self._name)}).{question}({given})"
        return await self._settled(lambda: self._evaluate_apart(script))

    async def _evaluate_apart(self, script: str) -> Any:
        if self._world is None:
            tree = await self._session.send("Page.getFrameTree")
            world = {"frameId": tree["frameTree"]["frame"]["id"], "worldName": self._name}
            self._world = (await self._session.send("Page.createIsolatedWorld", world))["executionContextId"]
        answer = await self._session.send(
            "Runtime.evaluate", {"expression": script, "contextId": self._world, "returnByValue": True, "awaitPromise": True}
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"controls.js: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        return await self._settled(lambda: self.page.evaluate(script))

    async def hook(self, call: str) -> Any:
        """A function of `clock.js`."""
        return await self.run(f"window[{json.dumps(self._name)}].{call}")

    async def do(self, step: Awaitable[Any], doing: str) -> None:
        """One step of a person, named for the findings. One that cannot be done is left out."""
        self._begin(doing)
        with _while_open():
            await self._bounded(step)

    def _begin(self, doing: str) -> None:
        if doing != self._doing:
            self._doing = doing
            self._at_step = (self._dialogs, self._loads)

    async def advance(self, milliseconds: int) -> None:
        """Let the page's time go on, and wait until it is drawn."""
        self.time += milliseconds
        if not await self.hook(f"advance({milliseconds})"):
            self._break("its timers never come to rest")
            raise Broken

    async def picture(self) -> Image:
        """What is to be seen in the window."""
        from PIL import Image

        png = await self._settled(lambda: self.page.screenshot(type="png", timeout=SECONDS * 1000))
        return Image.open(io.BytesIO(png)).convert("RGB")

    async def told(self) -> list[int]:
        """How much the page has done that no picture shows, and how often a form has said that something is missing."""
        effects, refused = await self.hook("told()")
        return [effects + self._effects + self._dialogs + self._loads, refused]

    async def look(self) -> Look:
        """What is to be seen now, with nothing in focus."""
        await self.run("document.activeElement?.blur()")
        state = await self.ask("state")
        return Look(await self.picture(), f"{(await self.told())[0]} {state}")
