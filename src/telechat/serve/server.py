"""The application on a socket: ports, signals, one line when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

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


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], give_up: Callable[[], None], grace: float) -> None:
        super().__init__(config)
        self._ready = ready
        self._give_up = give_up
        self._grace = grace

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        last_call = asyncio.get_running_loop().call_later(self._grace, self._give_up)
        await super().shutdown(sockets)
        last_call.cancel()


def make_server(
    app: FastAPI, ready: Callable[[], None], give_up: Callable[[], None], grace: float = GRACE_SECONDS
) -> uvicorn.Server:
    """A server that calls `ready` when it takes requests; run it with `.run([listener])`.

    Told to stop, it takes no more connections and lets what is being answered finish. After `grace` seconds it calls
    `give_up`, which has to fail what is left, so that clients read an error and not a broken connection.
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
    return _Server(config, ready, give_up, grace)


def run(app: FastAPI, listener: socket.socket, ready: Callable[[], None], give_up: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is being answered and return; see `make_server`."""
    server = make_server(app, ready, give_up)
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
