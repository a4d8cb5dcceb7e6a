"""Foreign code in the worker: right values come back, and nothing that it tries gets out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from telechat.sandbox.worker import SandboxAborted, Worker, run_calls, run_program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the worker confines itself with Linux mechanisms")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as it:
        yield it


def function(body: str) -> str:
    return "def f(x):\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n"


def one(worker: Worker, body: str, argument: object = 1) -> tuple[str, object]:
    (result,) = worker.run_calls(function(body), [("f", [argument])])
    return result.status, result.value if result.status == "ok" else result.error


def confined(worker: Worker, *mechanisms: str) -> None:
    worker.run_program("")
    absent = {name: worker.mechanisms[name] for name in mechanisms if worker.mechanisms[name].startswith("absent")}
    if absent:
        pytest.skip(f"not on this machine: {absent}")


@pytest.mark.parametrize("value", [None, True, 0, -(10**30), 1.5, "ä中", [1, [2]], {"a": [None]}])
def test_values_come_back_with_their_exact_types(worker: Worker, value: object) -> None:
    status, got = one(worker, "return x", value)
    assert (status, repr(got)) == ("ok", repr(value))


def test_each_call_has_its_own_result(worker: Worker) -> None:
    results = worker.run_calls(
        "def f(x): return 6 // x\ndef g(x, y): return x + y", [("f", [2]), ("f", [0]), ("g", [1, 2]), ("h", [])]
    )
    assert [r.status for r in results] == ["ok", "error", "ok", "error"]
    assert [r.value for r in results] == [3, None, 3, None]
    assert results[1].error.startswith("ZeroDivisionError")


def test_programs_print(worker: Worker) -> None:
    assert worker.run_program("print(1)\nprint('a', 2)").stdout == "1\na 2\n"
    failed = worker.run_program("print(1)\n1 / 0")
    assert (failed.stdout, failed.status) == ("1\n", "error")
    assert worker.run_program("x = (").status == "error"


@pytest.mark.parametrize(
    "body",
    [
        "return (1, 2)",
        "class N(int): pass\nreturn N(3)",
        "class E:\n    def __eq__(self, other): return True\nreturn E()",
        "return float('nan')",
        "return {1: 2}",
        "return {1}",
        "return lambda: 1",
        "y = []\ny.append(y)\nreturn y",
        "return 10 ** 5000",
    ],
)
def test_anything_but_plain_values_is_refused(worker: Worker, body: str) -> None:
    assert one(worker, body)[0] == "error"


def test_endless_code_is_stopped_by_a_count_and_not_by_the_clock(worker: Worker) -> None:
    loops = (
        "while True: pass",
        "while True:\n    try:\n        while True: x += 1\n    except BaseException: pass",
        "return [0 for i in range(10 ** 9)]",
        "def g(): yield from iter(int, 1)\nreturn sum(g())",
    )
    for body in loops:
        assert one(worker, body)[0] == "steps", body
    assert worker.run_program("while True: pass").status == "steps"
    once = [one(Worker(steps=1000), f"for i in range({n}): x += 1\nreturn x")[0] for n in (10, 10, 2000, 2000)]
    assert once == ["ok", "ok", "steps", "steps"]


def test_what_the_count_does_not_see_is_stopped_by_processor_time(worker: Worker) -> None:
    assert one(worker, "return sum(range(10 ** 11))")[0] == "cpu"
    assert one(worker, "return x + 1")[1] == 2


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        ("import os\nos._exit(0)", {"exit"}),
        ("import sys\nsys.exit(0)", {"error"}),
        ("import ctypes\nctypes.string_at(0)", {"crash"}),
        ("return f(x)", {"error"}),
        ("import sys\nsys.setrecursionlimit(10 ** 9)\nreturn f(x)", {"steps", "crash"}),
        ("return 'a' * 10 ** 10", {"error"}),
        ("return 'a' * 10 ** 6", {"output"}),
        ("while True: print('a' * 10000)", {"output"}),
        ("return input()", {"error"}),
    ],
)
def test_a_violent_end_is_a_status(worker: Worker, body: str, statuses: set[str]) -> None:
    assert one(worker, body)[0] in statuses
    assert one(worker, "return x")[1] == 1


@pytest.mark.parametrize(
    "body",
    [
        "import os\nreturn os.fork()",
        "import subprocess\nreturn subprocess.run(['true']).returncode",
        "import threading\nthreading.Thread(target=print).start()\nreturn 1",
        "import socket\nreturn socket.socket().fileno()",
        "import socket\nreturn len(socket.socketpair())",
        "import os\nreturn os.pipe()[0]",
        "import time\ntime.sleep(1000)\nreturn 1",
        "import os\nos.kill(os.getppid(), 9)\nreturn 1",
        "import os\nos.setuid(0)\nreturn 1",
        "import os\nos.execv('/bin/true', ['true'])",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (100, 100))\nreturn 1",
    ],
)
def test_system_calls_that_reach_out_are_refused(worker: Worker, body: str) -> None:
    confined(worker, "seccomp")
    server = worker.pid
    assert one(worker, body)[0] == "error"
    assert worker.pid == server


def test_locks_that_would_wait_for_ever_end(worker: Worker) -> None:
    confined(worker, "seccomp")
    assert one(worker, "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()\nreturn 1")[0] in ("crash", "error")


@pytest.mark.parametrize(
    "body",
    [
        "return open('/etc/passwd').read()",
        "import os\nreturn os.listdir('/')",
        "import os\nreturn os.listdir('.')",
        "import os\nreturn open(f'/proc/{os.getppid()}/environ').read()",
        "import os\nreturn os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR)",
        "open('escaped', 'w').close()\nreturn 1",
        "import tempfile\nreturn tempfile.mkdtemp()",
    ],
)
def test_files_are_out_of_reach(worker: Worker, body: str) -> None:
    confined(worker, "landlock")
    assert one(worker, body)[0] == "error"


def test_nothing_of_this_process_is_passed_on(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    assert one(worker, "import os\nreturn dict(os.environ)") == ("ok", {})
    body = """
        import os
        found = []
        for n in range(64):
            try:
                os.fstat(n)
                found.append(n)
            except OSError:
                pass
        return found
        """
    assert one(worker, body) == ("ok", [0, 1, 2, 3])


def test_jobs_leave_nothing_behind(worker: Worker) -> None:
    one(worker, "import builtins, json\nbuiltins.len = lambda x: 7\njson.dumps = None\nreturn 1")
    assert one(worker, "return len([x])") == ("ok", 1)


def test_forged_results_can_only_be_values(worker: Worker) -> None:
    forged = '{"status": "ok", "value": 42}'
    for line in (forged, '{"status": "pass"}', "[]", "{", '{"status": "ok", "value": NaN}'):
        results = worker.run_calls(
            function(f"import os\nos.write(3, {line!r}.encode() + b'\\n')\nos._exit(0)"), [("f", [1]), ("f", [2])]
        )
        assert len(results) == 2
        assert results[1].status == "exit"
        assert results[0].status == ("ok" if line == forged else "exit")
    assert one(worker, 'print(\'{"status": "ok", "value": 5}\')\nreturn 1') == ("ok", 1)
    assert one(worker, "import os\nos.write(1, b'x' * 10)\nreturn 1") == ("ok", 1)


def test_sets_and_random_numbers_are_the_same_in_every_worker() -> None:
    code = "import random\ndef f(x): return [list({'a', 'b', 'c', 'd'}), random.random(), hash('a')]"
    seen = []
    for _ in range(3):
        with Worker() as worker:
            seen += [worker.run_calls(code, [("f", [1])])[0].value for _ in range(2)]
    assert all(value == seen[0] for value in seen)


def test_wall_time_aborts_and_gives_no_verdict() -> None:
    with Worker(wall_seconds=0.3, cpu_seconds=5) as worker:
        worker.run_program("")
        with pytest.raises(SandboxAborted, match="wall time"):
            worker.run_program("sum(range(10 ** 11))")
        assert worker.run_program("print(1)").stdout == "1\n"


def test_a_killed_worker_is_replaced() -> None:
    with Worker() as worker:
        worker.run_program("")
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.run_program("print(1)").stdout == "1\n"


def test_threads_share_a_worker_and_may_end_before_it() -> None:
    outputs: list[str] = []
    with Worker() as worker:
        for _ in range(2):
            threads = [
                threading.Thread(target=lambda n=n: outputs.append(worker.run_program(f"print({n})").stdout)) for n in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        server = worker.pid
        assert worker.run_program("print(9)").stdout == "9\n"
        assert worker.pid == server
    assert sorted(outputs) == sorted(2 * [f"{n}\n" for n in range(4)])


def _script(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_forked_process_starts_its_own_worker() -> None:
    done = _script(
        """
        import os
        from telechat.sandbox import worker
        worker.run_program("")
        child = os.fork()
        if child == 0:
            ok = worker.run_program("print(1)").stdout == "1\\n"
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert worker.run_program("print(2)").stdout == "2\\n"
        """
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("spawned", ["main", "other"])
def test_the_worker_dies_with_its_parent(spawned: str) -> None:
    done = _script(
        f"""
        import os, signal, threading
        from telechat.sandbox import worker
        if {spawned!r} == "main":
            worker.run_program("")
        else:
            thread = threading.Thread(target=worker.run_program, args=("",)); thread.start(); thread.join()
        holder = os.fork()
        if holder == 0:
            os.close(1)
            os.close(2)
            signal.pause()
        print(worker.shared().pid, holder, flush=True)
        threading.Thread(target=worker.run_program, args=("sum(range(10 ** 11))",), daemon=True).start()
        threading.Event().wait(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    server, holder = (int(word) for word in done.stdout.split())
    try:
        deadline = time.monotonic() + 5
        while _alive(server) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _alive(server), "a process that holds the pipe keeps the worker alive"
    finally:
        os.kill(holder, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_the_shared_worker_serves_the_module_functions() -> None:
    assert run_calls("def f(x): return x", [("f", [3])])[0].value == 3
    assert run_program("print(1)").stdout == "1\n"
