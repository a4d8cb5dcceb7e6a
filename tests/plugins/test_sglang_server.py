"""`telechat serve MODEL --engine sglang` becomes the real SGLang server, on the CPU, asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "sglang", exc_type=ImportError, reason="SGLang is not installed here; `make test-plugins` makes an environment with it"
)

import httpx
from openai import OpenAI

from telechat.models.loading import load_tokenizer
from tests.models.published import telechat3_coder
from tests.plugins.test_sglang_models import CPU, classic

OPTIONS = ["--device", "cpu", "--attention-backend", "torch_native", "--sampling-backend", "pytorch", "--disable-cuda-graph"]
OPTIONS += ["--max-total-tokens", "4096", "--dtype", "float32", "--skip-server-warmup"]
HI = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "北京"]}, "days": {"enum": [1, 2]}},
            "required": ["city", "days"],
        },
    },
}


def telechat25(folder: Path) -> Path:
    return classic(folder, "TeleChat2ForCausalLM", seq_length=2048)


def coder(folder: Path) -> Path:
    """With room for a tool block, which takes hundreds of tokens of its small vocabulary."""
    config = json.loads((telechat3_coder(folder) / "config.json").read_text())
    config["max_position_embeddings"] = 2048
    for name in ("rope_scaling", "rope_parameters"):
        if config.get(name):
            config[name]["original_max_position_embeddings"] = 512
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class Server:
    """SGLang with a checkpoint, in processes of its own, until `stop`."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder.parent / "server.log"
        command = [sys.executable, "-m", "telechat", "serve", str(folder), "--engine", "sglang", "--port", str(port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, "--", *OPTIONS], stdout=log, stderr=log, env=CPU, start_new_session=True)
        self.client = OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

        self.end_of_thinking = load_tokenizer(folder).get_vocab().get("</think>")

    def wait(self) -> None:
        for _ in range(240):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                if httpx.get(f"{self.url}/health", timeout=30).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(1)
        raise AssertionError(self.log.read_text()[-3000:])

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module", params=[coder, telechat25], ids=["coder", "telechat2.5"])
def server(request, tmp_path_factory):
    made = Server(request.param(tmp_path_factory.mktemp("served") / "model"))
    try:
        made.wait()
        yield made
    finally:
        made.stop()


def pieces(server: Server, **asked: Any) -> tuple[str, str, dict[int, list[str]], Any]:
    """A streamed answer: thinking, content, calls (name, arguments) and usage."""
    thinking, content, calls, usage = "", "", {}, None
    more = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in server.client.chat.completions.create(**asked, **more):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            thinking += getattr(choice.delta, "reasoning_content", None) or ""
            content += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                made = calls.setdefault(call.index, ["", ""])
                made[0] += call.function.name or ""
                made[1] += call.function.arguments or ""
    return thinking, content, calls, usage


def asked(server: Server, **more: Any) -> dict[str, Any]:
    """A request whose thinking, if there is any, ends with its first token: these models never end theirs."""
    request = {"model": "model", "messages": HI, "max_tokens": 200, "temperature": 0, **more}
    return request | ({"logit_bias": {str(server.end_of_thinking): 100}} if server.end_of_thinking else {})


def test_an_answer_whole_and_streamed(server):
    request = asked(server, extra_body={"regex": "[a-z]{4} 北京"})
    whole = server.client.chat.completions.create(**request)
    message = whole.choices[0].message
    assert not message.reasoning_content
    assert re.fullmatch("[a-z]{4} 北京", message.content), message
    thinking, content, calls, usage = pieces(server, **request)
    assert (thinking, content, calls) == ("", message.content, {})
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_thinking_that_does_not_end_is_no_answer(server):
    if not server.end_of_thinking:
        pytest.skip("TeleChat2.5 does not think")
    thinking, content, calls, _ = pieces(server, model="model", messages=HI, max_tokens=12, temperature=0)
    assert thinking
    assert (content, calls) == ("", {})


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=["required", "named"]
)
def test_a_call_that_has_to_be_made(server, choice):
    request = asked(server, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    whole = server.client.chat.completions.create(**request)
    (call,) = whole.choices[0].message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "weather"
    assert arguments["city"] in ("Paris", "北京")
    assert arguments["days"] in (1, 2)
    assert whole.choices[0].finish_reason == "tool_calls"
    _, content, calls, _ = pieces(server, **request)
    assert not content.strip()
    assert [(name, json.loads(text)) for name, text in calls.values()] == [("weather", arguments)]


def test_the_page_is_in_front(server):
    page = httpx.get(server.url)
    assert page.status_code == 200
    assert "telechat" in page.text
