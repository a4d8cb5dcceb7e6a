"""`telechat serve` as people start and stop it."""

from __future__ import annotations

import json
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

from .conftest import until
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
    assert (server.returncode, stdout) == (0, "")
    lines = stderr.splitlines()
    assert [re.search(r"path=(\S+) status=(\d+)", line).groups() for line in lines] == [
        ("/health", "200"),
        ("/v1/models", "401"),
        ("/v1/models", "200"),
        ("/v1/chat/completions", "200"),
        ("/v1/chat/completions", "200"),
    ]
    assert "completion_tokens=" in lines[-1]
    assert "hi" not in re.sub(r"path=\S+", "", stderr).split()


def started(*arguments: str, **environment: str) -> tuple[subprocess.Popen, str]:
    server = telechat(*arguments, "--port", "0", **environment)
    line = server.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line + server.stderr.read()
    return server, found[0]


def test_told_to_stop_it_runs_dry_first(checkpoint):
    """What is being answered is finished; meanwhile load balancers see that nothing new is taken."""
    server, url = started(str(checkpoint), "--log", "json")
    try:
        body = {"model": "toy", "messages": HI, "max_tokens": 300, "stream": True, "ignore_eos": True, "n": 8}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
            chunks = answer.iter_lines()
            next(chunks)
            server.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(f"{url}/ready").status_code == 503)
            refused = httpx.post(f"{url}/v1/chat/completions", json={"model": "toy", "messages": HI}, timeout=20)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            assert httpx.get(f"{url}/health").status_code == 200
            assert [line for line in chunks if line][-1] == "data: [DONE]"
        _, stderr = server.communicate(timeout=20)
    finally:
        server.kill()
    assert server.returncode == 0
    lines = [json.loads(line) for line in stderr.splitlines()]
    (done,) = [line for line in lines if line.get("completion_tokens")]
    assert done["completion_tokens"] == 8 * 300
    assert {"time", "level", "event", "request_id", "seconds"} <= done.keys()


def test_a_second_signal_ends_it_at_once(checkpoint):
    server, url = started(str(checkpoint), "--max-samples", "16")
    try:
        body = {"model": "toy", "messages": HI, "stream": True, "ignore_eos": True, "n": 16, "max_tokens": 200}
        with httpx.stream("POST", f"{url}/v1/completions", json={**body, "prompt": "x"}, timeout=60) as answer:
            chunks = answer.iter_lines()
            next(chunks)
            server.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(f"{url}/ready").status_code == 503)
            server.send_signal(signal.SIGTERM)
            last = [line for line in chunks if line][-1]
        server.communicate(timeout=20)
    finally:
        server.kill()
    assert server.returncode == 0
    assert "stopping" in last or last == "data: [DONE]"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "--without-key"),
        (["--engine", "vllm", "--slots", "3"], "--slots"),
        (["--engine", "sglang", "--log-prompts"], "--log-prompts"),
        (["--cors-origin", "*"], "exact origin"),
        (["--cors-origin", "chat.example"], "exact origin"),
        (["--timeout", "0"], "timeout"),
        (["--log", "xml"], "log"),
    ],
)
def test_options_that_cannot_be(checkpoint, options, says):
    server = telechat(str(checkpoint), *options)
    stdout, stderr = server.communicate(timeout=60)
    assert (server.returncode, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert says in stderr


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
