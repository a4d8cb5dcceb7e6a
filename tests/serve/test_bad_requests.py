"""Every mistake of a client is a 4xx with the OpenAI error object; nothing of the inside shows."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

from telechat.serve.worker import Worker

from .conftest import serving
from .scripted import ScriptedEngine

GOOD = {"model": "toy", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def nested(levels: int) -> dict:
    out: dict = {}
    for _ in range(levels):
        out = {"properties": out}
    return out


BAD: list[tuple[str, dict]] = [
    ("messages", {"messages": []}),
    ("messages", {"messages": "hi"}),
    ("messages", {"messages": [{"role": "wizard", "content": "hi"}]}),
    ("messages", {"messages": [{"role": "user", "content": 5}]}),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]}),
    ("messages", {"messages": [{"role": "assistant", "tool_calls": 5}]}),
    ("messages", {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}),
    ("messages", {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[" * 9999}}]}]}),
    ("messages", {"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}),
    ("model", {"model": 7}),
    ("max_tokens", {"max_tokens": "5"}),
    ("max_tokens", {"max_tokens": 0}),
    ("max_tokens", {"max_tokens": True}),
    ("max_tokens", {"max_tokens": 1.5}),
    ("max_tokens", {"max_tokens": 10**30}),
    ("temperature", {"temperature": -0.1}),
    ("temperature", {"temperature": "hot"}),
    ("temperature", {"temperature": 10**400}),
    ("temperature", {"temperature": float("nan")}),
    ("top_p", {"top_p": 0}),
    ("top_k", {"top_k": -5}),
    ("n", {"n": 0}),
    ("n", {"n": 1000}),
    ("seed", {"seed": 2**64}),
    ("stop", {"stop": [""]}),
    ("stop", {"stop": ["x"] * 40}),
    ("stop", {"stop": 5}),
    ("stream", {"stream": "yes"}),
    (None, {"stream_options": {"include_usage": True}}),
    ("tools", {"tools": [{"type": "function"}]}),
    ("tools", {"tools": [{"type": "function", "function": {"name": 5}}]}),
    ("tools", {"tools": [{"type": "function", "function": {"name": "f", "parameters": nested(100)}}]}),
    ("tool_choice", {"tool_choice": "perhaps"}),
    ("tool_choice", {"tool_choice": "required"}),
    ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "nobody"}}}),
    ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": "function"}}),
    ("response_format", {"response_format": {"type": "json_schema"}}),
    ("response_format", {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}}),
    ("response_format", {"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "("}}}}),
    ("response_format", {"response_format": {"type": "json_schema", "json_schema": {"schema": nested(100)}}}),
    ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
    (None, {"top_logprobs": 3}),
    ("frequency_penalty", {"frequency_penalty": 2.5}),
    ("repetition_penalty", {"repetition_penalty": 0}),
    ("skip_special_tokens", {"skip_special_tokens": "no"}),
    (None, {"logit_bias": {"x": 1}}),
    ("logit_bias", {"logit_bias": {"5": 101}}),
    ("logit_bias", {"logit_bias": {"99999999": 1}}),
    ("preset", {"preset": "poetry"}),
    ("functions", {"functions": [{"name": "f"}]}),
]


def error_of(answer: httpx.Response, status: int) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "Traceback" not in answer.text
    return error


def post(url: str, **arguments) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", timeout=20, **arguments)


def test_wrong_fields_are_refused_by_name(scripted):
    url, engine, _ = scripted("</think>ok<_end>")
    for param, fields in BAD:
        body = json.dumps({**GOOD, **fields})
        error = error_of(post(url, content=body, headers={"content-type": "application/json"}), 400)
        assert error["type"] == "invalid_request_error"
        where = (error["param"] or "").split(".")[0] or None
        assert where == param, (fields, error)
    assert engine.prompts == []
    assert post(url, json=GOOD).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"model": ' + b"9" * 9999 + b"}"]
)
def test_bodies_that_are_no_json_object(scripted, body):
    url, _, _ = scripted("</think>ok<_end>")
    error_of(post(url, content=body, headers={"content-type": "application/json"}), 400)


def test_a_body_of_another_type_says_which_one_is_right(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    error = error_of(post(url, content=json.dumps(GOOD), headers={"content-type": "text/plain"}), 400)
    assert "application/json" in error["message"]


def test_text_that_is_half_a_character_is_survived(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    body = json.dumps({**GOOD, "messages": [{"role": "user", "content": "\ud83d and \x00"}]})
    assert post(url, content=body, headers={"content-type": "application/json"}).status_code == 200
    body = json.dumps({**GOOD, "model": "\ud83d"})
    error_of(post(url, content=body, headers={"content-type": "application/json"}), 404)


def test_unknown_models_routes_and_methods(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    error = error_of(post(url, json={**GOOD, "model": "gpt-9"}), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    client = openai.OpenAI(api_key="x", base_url=f"{url}/v1", max_retries=0)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    assert client.models.retrieve("toy").id == "toy"
    error_of(httpx.get(f"{url}/v1/nothing"), 404)
    wrong = httpx.get(f"{url}/v1/chat/completions")
    error_of(wrong, 405)
    assert wrong.headers["allow"] == "POST"


def test_a_body_that_is_too_large(scripted):
    url, engine, _ = scripted("</think>ok<_end>", max_body=1000)
    large = {**GOOD, "messages": [{"role": "user", "content": "x" * 200_000}]}
    error_of(post(url, json=large), 413)
    error_of(post(url, content=iter([json.dumps(large).encode()]), headers={"content-type": "application/json"}), 413)
    assert engine.prompts == []


def test_a_prompt_that_does_not_fit_says_how_long_it_is(scripted):
    url, engine, _ = scripted("</think>ok<_end>", max_len=40)
    error = error_of(post(url, json={**GOOD, "messages": [{"role": "user", "content": "long 5 " * 50}]}), 400)
    assert error["code"] == "context_length_exceeded"
    assert "40" in error["message"]
    assert engine.prompts == []


def test_the_key(scripted):
    url, engine, _ = scripted("</think>ok<_end>", api_keys=("s3cret",))
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}, {"authorization": "Bearer"}):
        error = error_of(post(url, json=GOOD, headers=headers), 401)
        assert error["code"] == "invalid_api_key"
        error_of(httpx.get(f"{url}/v1/models", headers=headers), 401)
        error_of(httpx.get(f"{url}/openapi.json", headers=headers), 401)
        error_of(httpx.get(f"{url}/no/such/path", headers=headers), 401)
    # The path that counts is the one on the request line, not what a Host header makes of it.
    error_of(httpx.get(f"{url}/v1/models", headers={"host": "x/health?"}), 401)
    assert engine.prompts == []
    client = openai.OpenAI(api_key="s3cret", base_url=f"{url}/v1", max_retries=0)
    assert client.models.list().data[0].id == "toy"
    assert client.chat.completions.create(**GOOD).choices[0].message.content == "ok"


class BuggyWorker(Worker):
    """Has a bug on the way of every request."""

    def check(self) -> None:
        raise ZeroDivisionError("division by zero")


def test_a_bug_is_a_500_without_the_inside(chat):
    with serving(chat, BuggyWorker(lambda: ScriptedEngine(lambda prompt, sample: [1]))) as url:
        answer = post(url, json=GOOD)
    assert error_of(answer, 500)["type"] == "server_error"
    assert "division" not in answer.text
