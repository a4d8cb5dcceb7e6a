"""`telechat serve` as people start and stop it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import openai
import pytest

from telechat.core.errors import UserError
from telechat.serve.server import reserve, url_of

from .test_chat_completions import HI


def telechat(*arguments: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "telechat", "serve", *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def test_from_start_to_sigterm(checkpoint):
    server = telechat(str(checkpoint), "--port", "0", TELECHAT_API_KEY="k1")
    try:
        line = server.stderr.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/v1/models").status_code == 401
        with openai.OpenAI(api_key="k1", base_url=f"{url}/v1") as client:
            assert [m.id for m in client.models.list()] == ["toy"]
            for name in ("toy", str(checkpoint)):
                assert client.chat.completions.create(model=name, messages=HI, max_tokens=3).usage.completion_tokens <= 3
        server.send_signal(signal.SIGTERM)
        stdout, stderr = server.communicate(timeout=20)
    finally:
        server.kill()
    assert (server.returncode, stdout, stderr) == (0, "", "")


def test_a_port_in_use_is_one_line(checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = telechat(str(checkpoint), "--port", str(taken.getsockname()[1]))
        stdout, stderr = server.communicate(timeout=60)
    assert (server.returncode, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert "in use" in stderr


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("no such host", 0), ("192.0.2.1", 0)])
def test_addresses_that_cannot_be_had(host, port):
    with pytest.raises(UserError):
        reserve(host, port)


def test_the_address_is_one_that_a_browser_can_open():
    with reserve("0.0.0.0", 0) as listener:
        assert url_of(listener).startswith("http://127.0.0.1:")
