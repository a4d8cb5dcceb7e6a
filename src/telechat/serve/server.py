"""The application on a socket: ports, signals, one line when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

import uvicorn
from fastapi import FastAPI

from telechat.core.errors import UserError

GRACE_SECONDS = 10.0  # what is being answered when the server is told to stop has this long to finish
MAX_HEADER_BYTES = 64 * 1024


def reserve(host: str, port: int) -> socket.socket:
    """A socket bound to `host`:`port` (0: any free port); clients are refused until it is served.

    Raises `UserError` when it cannot be had.
    """
    if not 0 <= port < 2**16:
        raise UserError(f"--port {port}: a port is a number from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise UserError(f"--host {host}: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise UserError(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; give another --port") from None
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a browser finds `listener`."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


class Answering(Protocol):
    """What the server asks of who answers; `Worker` is one."""

    @property
    def open_requests(self) -> int:
        """Requests that are being answered or wait."""

    def drain(self) -> None:
        """Take no new request; those that there are go on."""

    def halt(self) -> None:
        """Fail what is left, so that clients read an error and not a broken connection."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], answering: Answering | None, grace: float) -> None:
        super().__init__(config)
        self._ready = ready
        self._answering = answering
        self._grace = grace
        self._deadline: float | None = None  # of what is being answered, once the server is told to stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets the server run dry, the second one ends it."""
        if self._answering is None or self._deadline is not None:
            super().handle_exit(sig, frame)
            return
        self._deadline = time.monotonic() + self._grace
        self._answering.drain()

    async def on_tick(self, counter: int) -> bool:
        if self._deadline is not None and self._answering is not None:
            self.should_exit |= not self._answering.open_requests or time.monotonic() >= self._deadline
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        left = self._grace if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        halt = (lambda: None) if self._answering is None else self._answering.halt
        last_call = asyncio.get_running_loop().call_later(left, halt)
        await super().shutdown(sockets)
        last_call.cancel()


def make_server(
    app: FastAPI, ready: Callable[[], None], answering: Answering | None = None, grace: float = GRACE_SECONDS
) -> uvicorn.Server:
    """A server that calls `ready` when it takes requests; run it with `.run([listener])`.

    Told to stop by a signal, it says on /ready that it takes no more requests, refuses new ones with 503, and lets what
    is being answered finish; after `grace` seconds, or at a second signal, what is left fails.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(grace) + 5,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ws="none",
    )
    return _Server(config, ready, answering, grace)


def run(
    app: FastAPI,
    listener: socket.socket,
    ready: Callable[[], None],
    answering: Answering | None = None,
    grace: float = GRACE_SECONDS,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is being answered and return; see `make_server`."""
    server = make_server(app, ready, answering, grace)
    with _quiet_signals(server):
        server.run([listener])


@contextlib.contextmanager
def _quiet_signals(server: uvicorn.Server) -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more at the end; here that must not kill a clean exit."""

    def leave(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
