"""The command line: quick, and one clear line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest


def telechat(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "telechat", *arguments], input=stdin, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["quickstrat"],
        ["run", "no-such-recipe"],
        ["run", "/etc"],
        ["run", "nano", "--set", "nonsense"],
        ["run", "nano", "--until", "nowhere", "--out", "OUT"],
        ["run", "nano", "--out", "FILE"],
        ["run", "nano", "--out", "FILE/below"],
        ["run", "nano", "--out", "/proc/here"],
        ["run", "nano", "--set", "stages.rl-all.kinds=[additon]", "--out", "OUT"],
        ["run", "nano", "--set", "stages.sft.weights.additon=2", "--out", "OUT"],
        ["run", "nano", "--set", "stages.rl-all.replay_shares.additon=2", "--out", "OUT"],
        ["tasks", "additoin"],
        ["tasks", "addition", "--split", "hidden"],
        ["chat", "/nowhere"],
        ["chat", "FILE"],
        ["doctor", "/tmp"],
        ["quickstart", "--bogus"],
        ["render", "--format", "telechat9", "--messages", "FILE"],
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, arguments):
    (tmp_path / "file").write_text("x")
    given = [a.replace("OUT", str(tmp_path / "out")).replace("FILE", str(tmp_path / "file")) for a in arguments]
    done = telechat(*given)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["tasks"],
        ["tasks", "addition", "--count", "2"],
        ["run", "nope"],
        ["run", "nano", "--set", "stages.rl-all.kinds=[additon]"],
    ],
)
def test_commands_without_a_model_are_quick_and_need_no_torch(arguments):
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        telechat(*arguments)
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 1.0  # 0.5 s on an idle machine; tests share theirs
    code = f"import sys, telechat.cli\ntry:\n    telechat.cli.main({arguments!r})\nexcept SystemExit:\n    pass\n"
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_lists_every_command():
    from telechat.cli import COMMANDS

    shown = telechat("--help").stdout
    for name in COMMANDS:
        assert name in shown


def test_doctor_reports_the_matrix_rate_and_the_budget():
    found = json.loads(telechat("doctor", "--json").stdout)
    rate = found["machine"]["gemm_gflops"]
    assert rate > 1
    assert found["quickstart_budget_seconds"] == round(600 * max(1, 250 / rate))
