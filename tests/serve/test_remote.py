"""The terminal chat against a server: the same answers as from the model itself."""

from __future__ import annotations

import json

import httpx
import pytest

from telechat.core.errors import UserError
from telechat.core.types import Message
from telechat.engine import SamplingParams
from telechat.serve.remote import RemoteModel

from .test_chat_completions import CALL, WEATHER


def test_an_answer_from_a_server(scripted, monkeypatch):
    monkeypatch.setenv("TELECHAT_API_KEY", "secret")
    url, engine, _ = scripted(f"hm\n</think>Look: {CALL.format('Paris')}<_end>", api_keys=("secret",))
    model = RemoteModel(url)
    assert model.model == "toy"
    deltas = list(model.stream([Message("user", "hi")], [WEATHER], SamplingParams(200, 0.5, seed=3)))
    assert {d.kind for d in deltas} == {"reasoning_content", "content", "call", "arguments"}
    assert model.last.content == "Look:"
    assert model.last.reasoning_content == "hm"
    assert model.last.tool_calls[0].arguments == {"city": "Paris"}
    assert model.finish == "tool_calls"
    assert (engine.seen[-1][0].temperature, engine.seen[-1][0].max_tokens) == (0.5, 200)
    answered = [Message("user", "hi"), model.last, Message("tool", "sunny", tool_call_id=model.last.tool_calls[0].id)]
    assert list(model.stream(answered, [WEATHER]))


def test_what_is_wrong_is_said(scripted, monkeypatch):
    monkeypatch.delenv("TELECHAT_API_KEY", raising=False)
    url, _, _ = scripted("</think>ok<_end>", api_keys=("secret",), max_len=40)
    with pytest.raises(UserError, match="TELECHAT_API_KEY"):
        RemoteModel(url)
    with pytest.raises(UserError, match="no OpenAI-compatible server"):
        RemoteModel("http://127.0.0.1:9")
    monkeypatch.setenv("TELECHAT_API_KEY", "secret")
    with pytest.raises(UserError, match="context"):
        list(RemoteModel(f"{url}/v1").stream([Message("user", "word " * 100)]))


def test_the_server_decides_what_was_not_said_and_knows_presets_by_name(scripted):
    url, engine, _ = scripted("</think>ok<_end>", preset="math")
    model = RemoteModel(url)
    model.said = frozenset(("max_tokens",))
    list(model.stream([Message("user", "hi")], params=SamplingParams(7, 0.0)))
    assert (engine.seen[-1][0].temperature, engine.seen[-1][0].max_tokens) == (1.1, 7)
    model.preset = "agent"
    list(model.stream([Message("user", "hi")], params=SamplingParams(7, 0.0)))
    assert (engine.seen[-1][0].temperature, engine.seen[-1][0].top_p) == (0.6, 0.95)


def test_other_servers_get_presets_in_numbers(monkeypatch):
    sent = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"data": [{"id": "TeleChat3-Coder", "owned_by": "vllm"}]})
        sent.append(json.loads(request.content))
        return httpx.Response(200, text='data: {"choices": [{"delta": {"content": "ok"}}]}\n\ndata: [DONE]\n\n')

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr("telechat.serve.remote.httpx.Client", lambda **settings: client)
    model = RemoteModel("http://engine", preset="general")
    list(model.stream([Message("user", "hi")], params=SamplingParams(7, 0.0)))
    assert {name: sent[0].get(name) for name in ("preset", "temperature", "top_p", "repetition_penalty")} == {
        "preset": None,
        "temperature": 0.6,
        "top_p": 0.95,
        "repetition_penalty": 1.05,
    }
