"""The worker process: reads jobs on stdin, runs each in a forked, confined child, writes what the child said to stdout.

Started by `worker.py` as a script, with the standard library and `confine.py` only. Messages are a length (4 bytes,
big-endian) and JSON. The child returns values and never learns what is expected of them; its own pipe is all that it
can write to, so the worst that it can forge is its own results.
"""

import builtins
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import random
import resource
import select
import signal
import struct
import sys
import tempfile
import time
from typing import Any

PRELOADED = ("bisect", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal", "difflib", "enum",
             "fractions", "functools", "heapq", "io", "itertools", "json", "math", "operator", "re", "socket", "statistics",
             "string", "textwrap", "threading", "time", "types", "typing", "unicodedata")  # fmt: skip
MAX_OUTPUT = 1 << 18
MAX_TEXT = 1 << 16
MEMORY = 512 << 20


def _load_confine() -> Any:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "confine.py")
    spec = importlib.util.spec_from_file_location("confine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read_exactly(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = os.read(descriptor, count - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _send(descriptor: int, value: Any) -> None:
    data = json.dumps(value).encode()
    _write_all(descriptor, struct.pack(">I", len(data)) + data)


class Plain:
    """Turns values into JSON text when they consist of exact builtin types only; raises `TypeError` otherwise."""

    def __init__(self) -> None:
        self.size = 0

    def convert(self, value: Any, depth: int = 0) -> Any:
        """`value` rebuilt from builtins; a tuple, a subclass, a NaN or anything large or deep is refused."""
        self.size += 1
        if depth > 20 or self.size > 10_000:
            raise TypeError("too large")
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            if value.bit_length() > 10_000:
                raise TypeError("too large")
            return value
        if kind is float:
            if value != value or value in (float("inf"), float("-inf")):
                raise TypeError("not a finite number")
            return value
        if kind is str:
            self.size += len(value)
            return value
        if kind is list:
            return [self.convert(item, depth + 1) for item in value]
        if kind is dict and all(type(key) is str for key in value):
            return {key: self.convert(item, depth + 1) for key, item in value.items()}
        raise TypeError(f"returned {kind.__name__}")


class _Output:
    """A bounded text file that keeps what is printed."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.room = MAX_TEXT

    def write(self, text: str) -> int:
        if self.room < len(text):
            _finish("output")
        self.room -= len(text)
        self.parts.append(str(text))
        return len(text)

    def flush(self) -> None:
        pass


_result = -1


def _say(value: Any) -> None:
    _write_all(_result, json.dumps(value).encode() + b"\n")


def _finish(status: str) -> None:
    """End the child at once with a last word that foreign code cannot catch."""
    _say({"status": status})
    os._exit(0)


class _Steps:
    """Counts the bytecodes that foreign code executes and ends the process at a limit.

    Lines would not do: `while True: pass` never comes to a new one. Python 3.12 and later report instructions through
    `sys.monitoring`; their `settrace` misses some of them.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.count = limit, 0
        if sys.version_info >= (3, 12):
            monitoring = sys.monitoring
            monitoring.use_tool_id(monitoring.DEBUGGER_ID, "steps")
            monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.INSTRUCTION, self._instruction)

    def start(self) -> None:
        """Count from zero."""
        self.count = 0
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(sys.monitoring.DEBUGGER_ID, sys.monitoring.events.INSTRUCTION)
        else:
            sys.settrace(self._trace)

    def stop(self) -> None:
        """Count no more: what follows is our own code."""
        if sys.version_info >= (3, 12):
            with contextlib.suppress(ValueError):
                sys.monitoring.set_events(sys.monitoring.DEBUGGER_ID, 0)
        else:
            sys.settrace(None)

    def _instruction(self, code: Any, offset: int) -> None:
        self.count += 1
        if self.count > self.limit:
            _finish("steps")

    def _trace(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        self._instruction(None, 0)
        return self._trace


def _child(job: dict[str, Any], confine: Any, seccomp: Any, server: int) -> None:
    global _result
    confine.attempt(lambda: confine.die_with_parent(server))
    confine.limit(resource.RLIMIT_CPU, job["cpu"])
    confine.limit(resource.RLIMIT_NPROC, 0)
    random.seed(0)
    output = _Output()
    sys.stdout = sys.stderr = output
    sys.stdin = None
    if seccomp is not None:
        seccomp.install()
    else:
        time.sleep = _no_waiting
    steps = _Steps(job["steps"])
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
    try:
        code = compile(job["code"], "answer.py", "exec", dont_inherit=True)
        steps.start()
        exec(code, space)
        steps.stop()
    except BaseException as error:
        steps.stop()
        _say({"status": "error", "error": _describe(error), "stdout": "".join(output.parts)})
        os._exit(0)
    _say({"status": "loaded", "stdout": "".join(output.parts)})
    for name, arguments in job["calls"]:
        try:
            steps.start()
            value = space[name](*arguments)
            steps.stop()
            _say({"status": "ok", "value": Plain().convert(value)})
        except BaseException as error:
            steps.stop()
            _say({"status": "error", "error": _describe(error)})
    os._exit(0)


def _no_waiting(seconds: object) -> None:
    """What `time.sleep` does where no filter refuses it."""
    raise PermissionError("waiting is not allowed")


def _describe(error: BaseException) -> str:
    """The error in a line; an error class of the answer's own is named only, because its `__str__` is foreign code."""
    if type(error).__module__ != "builtins":
        return "error"
    try:
        return f"{type(error).__name__}: {error}"[:200].encode("utf-8", "replace").decode()
    except BaseException:
        return "error"


def _run(job: dict[str, Any], confine: Any, seccomp: Any) -> dict[str, Any]:
    """Fork a child for one job and gather what it says until it ends, says too much, or our parent dies."""
    global _result
    reader, writer = os.pipe()
    server = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writer, _RESULT)
            for descriptor in range(3):
                os.dup2(_DEVNULL, descriptor)
            _result = 3
            os.dup2(_RESULT, _result)
            os.closerange(4, 64)
            _child(job, confine, seccomp, server)
        finally:
            os._exit(70)
    os.close(writer)
    data, status = b"", ""
    poll = _poll(reader)
    while not status:
        for descriptor, _ in poll.poll():
            if descriptor != reader:
                os.kill(child, signal.SIGKILL)
                os._exit(0)
            piece = os.read(reader, 65536)
            data += piece
            if not piece:
                status = "ended"
            elif len(data) > MAX_OUTPUT:
                status = "output"
                os.kill(child, signal.SIGKILL)
    os.close(reader)
    _, code, usage = os.wait4(child, 0)
    spent = usage.ru_utime + usage.ru_stime
    if status == "ended" and os.WIFSIGNALED(code):
        killed = os.WTERMSIG(code) in (signal.SIGKILL, signal.SIGXCPU)
        status = "crash" if not killed else "cpu" if spent > 0.5 * job["cpu"] else "killed"
    return {"status": status, "data": data.decode("utf-8", "replace")}


_JOBS, _ANSWERS, _DEVNULL, _PARENT, _RESULT = 40, 41, 42, 43, 44
_watched = False


def _poll(descriptor: int) -> select.poll:
    """Waits for `descriptor` and, where the kernel can tell, for the death of the process that started us."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if _watched:
        poll.register(_PARENT, select.POLLIN)
    return poll


def _next_job() -> dict[str, Any]:
    poll = _poll(_JOBS)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if _PARENT in ready:
            os._exit(0)
        if _JOBS in ready:
            (length,) = struct.unpack(">I", _read_exactly(_JOBS, 4))
            return json.loads(_read_exactly(_JOBS, length))


def _watch(parent: int) -> str:
    """Notice the death of `parent`, however many processes hold copies of its pipes."""
    global _watched
    descriptor = os.pidfd_open(parent)
    os.dup2(descriptor, _PARENT)
    os.close(descriptor)
    _watched = True
    if os.getppid() != parent:
        os._exit(0)
    return "on"


def _empty_folder() -> str:
    """Work in a folder that exists no more, so that nothing can be found or made in it."""
    folder = tempfile.mkdtemp(prefix="telechat-worker-")
    os.chdir(folder)
    os.rmdir(folder)
    return "on"


def _probe(confine: Any) -> tuple[Any, str]:
    """The seccomp filter if it really refuses what it should, and a word on it."""
    try:
        seccomp = confine.SeccompFilter()
    except OSError as error:
        return None, f"absent: {error}"
    child = os.fork()
    if child == 0:
        try:
            seccomp.install()
            with contextlib.suppress(PermissionError):
                os.pipe()
                os._exit(1)
            os._exit(0)
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (seccomp, "on") if code == 0 else (None, f"absent: the probe ended with {code}")


def _warm() -> None:
    """Touch what every child touches, once, in the parent: fewer pages to copy after each fork."""
    for number in range(200):
        space: dict[str, Any] = {}
        exec(compile(f"def f(x):\n    return [i + {number} for i in x]\n", "answer.py", "exec"), space)
        json.dumps(Plain().convert(space["f"]([1, 2])))
    gc.collect()
    gc.freeze()
    gc.disable()


def main(parent: int, tie_to_thread: bool) -> None:
    """Serve jobs until the parent process ends or closes the pipe."""
    os.environ.clear()
    devnull = os.open(os.devnull, os.O_RDWR)
    for old, new in ((0, _JOBS), (1, _ANSWERS), (devnull, _DEVNULL)):
        os.dup2(old, new, inheritable=False)
    for descriptor in range(3):
        os.dup2(devnull, descriptor)
    os.closerange(3, 40)
    confine = _load_confine()
    for name in PRELOADED:
        importlib.import_module(name)
    attempt = confine.attempt
    done = {
        "parent watched": attempt(lambda: _watch(parent)),
        "empty folder": attempt(_empty_folder),
        "no new privileges": attempt(confine.no_new_privileges),
        "landlock": attempt(lambda: confine.landlock([os.path.dirname(os.__file__)])),
        "unused user": attempt(confine.drop_root),
    }
    if tie_to_thread:
        done["dies with parent"] = attempt(lambda: confine.die_with_parent(parent))
    for kind, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        confine.limit(kind, value)
    seccomp, done["seccomp"] = _probe(confine)
    _warm()
    _send(_ANSWERS, done)
    while True:
        _send(_ANSWERS, _run(_next_job(), confine, seccomp))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "main")
