"""Files are whole or absent, whenever the process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from telechat.core.errors import UserError
from telechat.core.files import atomic_open, locked, read_json, read_jsonl, write_json, write_jsonl

WRITER = """
import sys
from telechat.core.files import atomic_open
letter = 0
while True:
    with atomic_open(sys.argv[1]) as file:
        for _ in range(50):
            file.write(bytes([65 + letter % 26]) * 4000)
    letter += 1
"""


def test_a_killed_writer_leaves_one_whole_version(tmp_path):
    target = tmp_path / "data.bin"
    for delay in (0.15, 0.2, 0.25):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(target)])
        while not target.exists():
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = target.read_bytes()
        assert len(content) == 200_000
        assert len(set(content)) == 1


def test_an_error_while_writing_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})

    def fail() -> None:
        with atomic_open(target) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert read_json(target) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_json_lines_round_trip_and_name_the_bad_line(tmp_path):
    file = tmp_path / "x.jsonl"
    rows = [{"a": "中文\n"}, [1, 2], "s"]
    write_jsonl(file, rows)
    assert read_jsonl(file) == rows
    file.write_text('{"a": 1}\n{oops\n')
    with pytest.raises(UserError, match=r"x\.jsonl:2"):
        read_jsonl(file)


def test_a_locked_folder_refuses_a_second_process(tmp_path):
    code = (
        "import sys\nfrom telechat.core.files import locked\nfrom telechat.core.errors import UserError\n"
        "try:\n    with locked(sys.argv[1]): print('in')\nexcept UserError as e: print('refused')"
    )
    with locked(tmp_path):
        out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        assert out.stdout.strip() == "refused"
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "in"
