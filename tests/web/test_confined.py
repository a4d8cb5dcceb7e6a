"""What a browser is started with: here a shell stands in for it, and tells."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from telechat.sandbox import confine
from telechat.web import confined

ASKS = """#!/bin/bash
echo "uid $(id -u)"
(exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null && echo reached || echo refused
"""


@pytest.fixture
def told():
    """What the stand-in says of itself; it lies where another user can read it."""
    if shutil.which("bash") is None:
        pytest.skip("no bash, which opens connections by itself")
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as server:
        folder = Path(name)
        folder.chmod(0o755)
        browser, profile = folder / "browser", folder / "profile"
        browser.write_text(ASKS.replace("PORT", str(server.getsockname()[1])))
        browser.chmod(0o755)
        profile.mkdir()
        straight = subprocess.run([browser], capture_output=True, text=True, timeout=30)
        assert "reached" in straight.stdout
        command = [sys.executable, "-I", confined.__file__, str(browser), f"--user-data-dir={profile}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        yield done.stdout, profile.stat().st_uid


def test_it_is_not_root_and_owns_its_profile(told):
    said, owner = told
    uid = int(said.split()[1])
    assert uid == owner
    assert uid == os.getuid() or os.getuid() == 0
    assert uid != 0


def test_it_reaches_no_server_not_even_on_this_machine(told):
    if confine._landlock_abi() < 4:
        pytest.skip("this kernel's Landlock knows no TCP")
    assert "refused" in told[0]
