"""A warm Python worker outside our process: ask it to run a piece of code and to call its functions.

The worker is a small server (`server.py`) that forks a confined child for every job. It sends back values; what they
should be never leaves this process. A count of executed bytecodes decides when code runs too long, so that a verdict
depends on the code alone; CPU time and memory are backstops, and wall time only aborts (`SandboxAborted`).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

Status = Literal["ok", "error", "steps", "cpu", "output", "exit", "crash"]

STEPS = 200_000
CPU_SECONDS = 4  # seven calls of STEPS steps take up to two on a slow core
WALL_SECONDS = 60.0
_ATTEMPTS = 3
_SERVER = Path(__file__).with_name("server.py")
_STATUSES = ("ok", "error", "steps", "output")


class SandboxAborted(Exception):
    """The worker gave no answer for reasons that say nothing about the code (time on the wall, a killed process)."""


@dataclass(frozen=True)
class CallResult:
    """What one call gave. `value` holds exact builtin types (None, bool, int, float, str, list, dict) and counts only
    when `status` is `ok`; otherwise `error` is a line of text."""

    status: Status
    value: Any = None
    error: str = ""


@dataclass(frozen=True)
class ProgramResult:
    """What a program printed, and how it ended."""

    stdout: str
    status: Status
    error: str = ""


class Worker:
    """One worker process. Safe to use from several threads; after a fork the child process starts its own."""

    def __init__(self, steps: int = STEPS, cpu_seconds: int = CPU_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self.steps, self.cpu_seconds, self.wall_seconds = steps, cpu_seconds, wall_seconds
        self.mechanisms: dict[str, str] = {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id of the server, None when it does not run."""
        return self._process.pid if self._process is not None and self._owner == os.getpid() else None

    def close(self) -> None:
        """End the worker process; the next job starts a new one."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self._owner == os.getpid():
            process.kill()
            process.wait()

    def run_calls(self, code: str, calls: Sequence[tuple[str, list[Any]]]) -> list[CallResult]:
        """Run `code`, then call its functions one after the other with JSON arguments; one result for each call.

        When the code itself fails, every call has that status. Raises `SandboxAborted` when nothing can be said.
        """
        head, records = self._job(code, calls)
        results = [
            CallResult(record["status"], record.get("value"), str(record.get("error", "")))
            if record["status"] in ("ok", "error")
            else CallResult(record["status"], error=str(record["status"]))
            for record in records[: len(calls)]
        ]
        missing = len(calls) - len(results)
        return results + [CallResult(head.status, error=head.error or head.status)] * missing

    def run_program(self, code: str) -> ProgramResult:
        """Run `code` as a program and keep what it prints."""
        return self._job(code, [])[0]

    def _job(self, code: str, calls: Sequence[tuple[str, list[Any]]]) -> tuple[ProgramResult, list[dict[str, Any]]]:
        job = {"code": code, "calls": [list(call) for call in calls], "steps": self.steps, "cpu": self.cpu_seconds}
        request = json.dumps(job).encode()
        for _ in range(_ATTEMPTS):
            with self._lock:
                try:
                    reply = self._exchange(request)
                except _WorkerDied:
                    self.close()
                    continue
                except BaseException:
                    self.close()
                    raise
            if reply["status"] != "killed":
                return _read_reply(reply, bool(calls))
        raise SandboxAborted(f"the worker died {_ATTEMPTS} times over one job")

    def _exchange(self, request: bytes) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(struct.pack(">I", len(request)) + request)
            process.stdin.flush()
        except OSError as error:
            raise _WorkerDied from error
        return _receive(process.stdout, self.wall_seconds)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner != os.getpid():
            self.close()
        if self._process is None or self._process.poll() is not None:
            self.close()
            # Not -I, which would ignore PYTHONHASHSEED: the order of sets must not differ between runs. With an
            # environment of this one variable, -P -s -S are the same isolation.
            thread = "main" if threading.current_thread() is threading.main_thread() else "other"
            command = [sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", str(_SERVER), str(os.getpid()), thread]
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONHASHSEED": "0"},
                cwd="/",
                start_new_session=True,
            )
            assert self._process.stdout is not None
            self.mechanisms = _receive(self._process.stdout, self.wall_seconds)
        return self._process


class _WorkerDied(Exception):
    pass


def _receive(pipe: IO[bytes], seconds: float) -> dict[str, Any]:
    """One message from the worker."""
    poll = select.poll()
    poll.register(pipe.fileno(), select.POLLIN)

    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            if not poll.poll(seconds * 1000):
                raise SandboxAborted(f"no answer within {seconds:g} s of wall time; try again on a less loaded machine")
            piece = os.read(pipe.fileno(), count - len(data))
            if not piece:
                raise _WorkerDied
            data += piece
        return data

    (length,) = struct.unpack(">I", exactly(4))
    return json.loads(exactly(length))


def _read_reply(reply: dict[str, Any], called: bool) -> tuple[ProgramResult, list[dict[str, Any]]]:
    """The program's result and the calls' records. What the child wrote is foreign text: nothing in it is trusted."""
    ended: Status = "exit" if reply["status"] == "ended" else reply["status"]
    records: list[dict[str, Any]] = []
    for line in reply["data"].split("\n")[:-1]:
        record = _read_record(line)
        if record is None:
            break
        records.append(record)
        if record["status"] == "steps" or record["status"] == "output":
            ended = record["status"]
            break
    if not records or records[0]["status"] not in ("loaded", "error"):
        return ProgramResult("", ended), []
    first = records[0]
    stdout, error = str(first.get("stdout", "")), str(first.get("error", ""))[:200]
    if first["status"] == "error":
        return ProgramResult(stdout, "error", error), []
    return ProgramResult(stdout, ended if called else "ok"), records[1:]


def _read_record(line: str) -> dict[str, Any] | None:
    def refuse(token: str) -> None:
        raise ValueError(token)

    try:
        record = json.loads(line, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("status") in (*_STATUSES, "loaded") else None


_shared: Worker | None = None


def shared() -> Worker:
    """The worker of this process, started at the first job."""
    global _shared
    if _shared is None:
        _shared = Worker()
        atexit.register(_close_shared)
    return _shared


def _close_shared() -> None:
    if _shared is not None:
        _shared.close()


def _forget_shared() -> None:
    """After a fork: the lock may be held by a thread that does not exist here, and the worker is the parent's."""
    global _shared
    _shared = None


os.register_at_fork(after_in_child=_forget_shared)


def run_calls(code: str, calls: Sequence[tuple[str, list[Any]]]) -> list[CallResult]:
    """`Worker.run_calls` on the shared worker."""
    return shared().run_calls(code, calls)


def run_program(code: str) -> ProgramResult:
    """`Worker.run_program` on the shared worker."""
    return shared().run_program(code)
