"""The engine in its own thread, and handles on it for asyncio.

One thread owns the engine and steps it while there is work. The event loop talks to it through two lists under one
condition; the thread answers with one `call_soon_threadsafe` a step, whatever the number of streams.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from telechat.core.errors import UserError
from telechat.engine.params import Constraint, Request, SamplingParams
from telechat.serve.log import add_counts

logger = logging.getLogger(__name__)


class EngineFailure(Exception):
    """The engine broke or stopped while it had this request; the request was not at fault as far as is known."""


class EngineStopped(EngineFailure):
    """There is no engine any more, or not for long."""


class TookTooLong(EngineFailure):
    """The request had its time and was not done."""


class SteppedEngine(Protocol):
    """What the worker needs of an engine; `telechat.engine.Engine` is one."""

    slots: int
    max_len: int

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""

    def add(
        self,
        prompt: Sequence[int],
        params: Sequence[SamplingParams],
        constraints: Sequence[Constraint | None] = (),
        salt: str = "",
    ) -> Request:
        """Queue one prompt; raises `UserError` when it cannot fit."""

    def cancel(self, request: Request) -> None:
        """Stop a request before the next step."""

    def end(self, request: Request, sample: int) -> None:
        """One sample needs no more tokens."""

    def step(self) -> list[tuple[Request, int, int]]:
        """One step; (request, sample, token) for every token sampled in it."""


@dataclass(frozen=True)
class Token:
    """One sampled token, with the likeliest ones in its place where they were asked for. `finish` is "stop" or "length"
    on the last one of its sample."""

    sample: int
    id: int
    logprob: float
    finish: str | None
    top: Sequence[tuple[int, float]] = ()


class Generation:
    """One request in the engine: an async iterator of the tokens of each step, over when every sample is.

    Use it as an async context manager: leaving it, for whatever reason, takes the request out of the engine.
    """

    def __init__(
        self,
        worker: Worker,
        prompt: Sequence[int],
        params: Sequence[SamplingParams],
        constraints: Sequence[Constraint | None] = (),
        salt: str = "",
    ) -> None:
        self.prompt = prompt
        self.params = params
        self.constraints = constraints
        self.salt = salt
        self.loop = asyncio.get_running_loop()
        self._deadline = None if worker.timeout is None else self.loop.time() + worker.timeout
        self._tokens = 0
        self.submitted = time.monotonic()
        self.first_step: float | None = None  # when the engine brought tokens first
        self.last_step: float | None = None  # and last
        self.request: Request | None = None  # belongs to the engine's thread
        self.cancelled = False
        self._worker = worker
        self._steps: asyncio.Queue[list[Token] | Exception] = asyncio.Queue()
        self._open = set(range(len(params)))

    async def __aenter__(self) -> Generation:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.cancel()
        add_counts(prompt_tokens=len(self.prompt), cached_tokens=self.cached_tokens, completion_tokens=self._tokens)

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> list[Token]:
        """The tokens of the next step. Raises `UserError` (it cannot fit) or `EngineFailure`."""
        if not self._open:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout_at(self._deadline):
                step = await self._steps.get()
        except TimeoutError:
            raise TookTooLong(f"the answer was not done after {self._worker.timeout:g} s") from None
        if isinstance(step, Exception):
            self._open.clear()
            raise step
        self._tokens += len(step)
        self._open -= {token.sample for token in step if token.finish}
        return step

    def cancel(self) -> None:
        """Take the request out of the engine before its next step; nothing when it is over."""
        if self._open:
            self._open.clear()
            self._worker.cancel(self)

    def end(self, sample: int) -> None:
        """One sample needs no more tokens; the others go on."""
        if sample in self._open:
            self._open.discard(sample)
            self._worker.end(self, sample)

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that did not have to be computed."""
        return self.request.cached if self.request is not None else 0

    def deliver(self, step: list[Token] | Exception) -> None:
        """Called in the event loop with what a step brought."""
        self._steps.put_nowait(step)


class Place:
    """A place in the queue that is kept for a request while it is read. It is given up once, at the latest when nobody
    holds it any more."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self.give_up = weakref.finalize(self, give_back)


class Watcher(Protocol):
    """Is told in the engine's thread what happens."""

    def stepped(self, generation: Generation, tokens: Sequence[Token], now: float) -> None:
        """A step has brought `tokens` of one request."""

    def ended(self, generation: Generation, reason: str, now: float) -> None:
        """A request is over: "stop", "length", "abort" or "error"."""

    def iterated(self, tokens: int) -> None:
        """The engine has made a step in which it computed `tokens`, those of prompts included."""


class Worker:
    """Runs the engine that `make_engine` makes.

    A step that raises fails the requests that were in the engine, and a new engine is made for the next ones; when
    that fails too, the worker is dead and refuses everything. A request that is not done after `timeout` seconds fails.
    """

    def __init__(
        self, make_engine: Callable[[], SteppedEngine], watcher: Watcher | None = None, timeout: float | None = None
    ) -> None:
        self._make_engine = make_engine
        self.watcher = watcher
        self.timeout = timeout
        self._engine: SteppedEngine | None = make_engine()
        self.slots, self.max_len = self._engine.slots, self._engine.max_len
        self._changed = threading.Condition()
        self._arrived: list[Generation] = []
        self._left: list[Generation] = []
        self._ended: list[tuple[Generation, int]] = []
        self._running: dict[int, Generation] = {}  # by the engine's request number
        self._reserved = 0
        self._draining = False
        self._stopping = False
        self._dead = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="telechat-engine", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Say that no new request is taken; those that run go on."""
        self._draining = True

    def halt(self) -> None:
        """After the present step, fail what is still running and end the thread; does not wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def stop(self) -> None:
        """`halt`, and wait for the thread."""
        self.halt()
        if self._thread is not None:
            self._thread.join()

    @property
    def open_requests(self) -> int:
        """Requests that run or wait."""
        with self._changed:
            return len(self._running) + len(self._arrived)

    @property
    def alive(self) -> bool:
        """The engine's thread takes requests, or has not been started yet."""
        return not self._dead and (self._thread is None or self._thread.is_alive())

    @property
    def stopping(self) -> bool:
        """No new request is taken."""
        return self._draining or self._stopping

    def would_wait(self, count: int) -> int:
        """How many completions would wait for a slot if `count` more came, those counted that the engine has not heard
        of yet and those that have a place."""
        waiting = int(self.read("queued"))
        free = 0 if waiting else self.slots - int(self.read("running"))
        with self._changed:
            coming = sum(len(generation.params) for generation in self._arrived) + self._reserved + count
        return waiting + max(0, coming - free)

    def keep_place(self, count: int) -> Place:
        """Count `count` completions as waiting until the place is given up."""
        self._reserve(count)
        return Place(lambda: self._reserve(-count))

    def _reserve(self, count: int) -> None:
        with self._changed:
            self._reserved += count

    def read(self, name: str) -> float:
        """A figure of the engine as it is now (`running`, `queued`, `kv_usage`, …); 0 where it has none."""
        return float(getattr(self._engine, name, 0) or 0)

    @property
    def idle(self) -> bool:
        """No request runs or waits, and the engine holds nothing."""
        return self.open_requests == 0 and self._engine_idle

    @property
    def _engine_idle(self) -> bool:
        return self._engine is None or self._engine.idle

    def check(self) -> None:
        """Raise `EngineStopped` when nothing more can be submitted."""
        if self._stopping or self._dead:
            raise EngineStopped("the engine has stopped")

    def submit(
        self,
        prompt: Sequence[int],
        params: Sequence[SamplingParams],
        constraints: Sequence[Constraint | None] = (),
        salt: str = "",
    ) -> Generation:
        """Queue a prompt with one sample for each of `params`; call it inside the event loop that will read it.

        Requests of different `salt` share no cached prefix.
        """
        generation = Generation(self, prompt, params, constraints, salt)
        with self._changed:
            self.check()
            self._arrived.append(generation)
            self._changed.notify()
        return generation

    def cancel(self, generation: Generation) -> None:
        """See `Generation.cancel`."""
        with self._changed:
            generation.cancelled = True
            self._left.append(generation)
            self._changed.notify()

    def end(self, generation: Generation, sample: int) -> None:
        """See `Generation.end`."""
        with self._changed:
            self._ended.append((generation, sample))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._stopping or self._arrived or self._left) and self._engine_idle:
                    self._changed.wait()
                arrived, self._arrived = self._arrived, []
                left, self._left = self._left, []
                ended, self._ended = self._ended, []
                if self._stopping:
                    break
            broken = False
            try:
                self._work(arrived, left, ended)
            except Exception:  # the border of the thread: whatever breaks a step must fail its requests, not hang them
                logger.exception("the engine failed; its requests fail with it")
                broken = True
            if broken:
                self._recover(arrived)
        self._fail([*arrived, *self._running.values()], EngineStopped("the server is stopping"))

    def _work(self, arrived: list[Generation], left: list[Generation], ended: list[tuple[Generation, int]]) -> None:
        if self._engine is None:  # dead, and these came before it was known
            self._fail(arrived, EngineStopped("the engine has stopped"))
            return
        for generation in left:
            if generation.request is not None:
                self._engine.cancel(generation.request)
                if self._running.pop(generation.request.id, None) is not None:
                    self._over(generation, "abort")
        for generation, sample in ended:
            if generation.request is not None and generation.request.id in self._running:
                self._engine.end(generation.request, sample)
        for generation in arrived:
            if generation.cancelled:
                continue
            try:
                generation.request = self._engine.add(
                    generation.prompt, generation.params, generation.constraints, generation.salt
                )
            except UserError as error:
                self._post([(generation, error)])
            else:
                self._running[generation.request.id] = generation
        before = self.read("prefilled_tokens")
        events = self._engine.step()
        if self.watcher is not None and (tokens := len(events) + int(self.read("prefilled_tokens") - before)):
            self.watcher.iterated(tokens)
        self._share(events)

    def _share(self, events: list[tuple[Request, int, int]]) -> None:
        """Give every generation its tokens of one step."""
        steps: dict[int, list[Token]] = {}
        for request, sample, token in events:
            params, completion = request.params[sample], request.completions[sample]
            over = token in params.stop_ids or len(completion.ids) >= params.max_tokens
            finish = completion.finish if over else None
            top = completion.top[-1] if completion.top else ()
            steps.setdefault(request.id, []).append(Token(sample, token, completion.logprobs[-1], finish, top))
        self._post([(self._running[number], step) for number, step in steps.items() if number in self._running])
        now = time.monotonic()
        for number, generation in list(self._running.items()):
            if number in steps and self.watcher is not None:
                self.watcher.stepped(generation, steps[number], now)
                generation.first_step = generation.first_step or now
                generation.last_step = now
            made = generation.request
            if made is not None and made.open == 0:
                del self._running[number]
                self._over(generation, "length" if any(c.finish == "length" for c in made.completions) else "stop")

    def _post(self, parcels: Sequence[tuple[Generation, list[Token] | Exception]]) -> None:
        """Deliver in the event loops, with one call for each of them."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Generation, list[Token] | Exception]]] = {}
        for generation, step in parcels:
            by_loop.setdefault(generation.loop, []).append((generation, step))
        for loop, mine in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, mine)
            except RuntimeError:  # the loop is closed: nobody will read these any more
                for generation, _ in mine:
                    self.cancel(generation)

    def _over(self, generation: Generation, reason: str) -> None:
        if self.watcher is not None:
            self.watcher.ended(generation, reason, time.monotonic())

    def _fail(self, generations: Sequence[Generation], why: EngineFailure) -> None:
        for generation in generations:
            self._over(generation, "error")
        self._post([(generation, why) for generation in generations])

    def _recover(self, arrived: list[Generation]) -> None:
        """Fail what the broken engine had and make a new one; the old one is let go first."""
        failed = [*arrived, *(g for g in self._running.values() if g not in arrived)]
        self._running.clear()
        self._engine = None
        self._fail(failed, EngineFailure("the engine failed while it worked on this request"))
        try:
            self._engine = self._make_engine()
        except Exception:  # the border of the thread, as above
            logger.exception("no new engine can be made; nothing will be answered any more")
            with self._changed:
                self._dead = True


def _deliver(parcels: Sequence[tuple[Generation, list[Token] | Exception]]) -> None:
    for generation, step in parcels:
        generation.deliver(step)
