"""What a request says about sampling reaches the engine, and what comes back is the model's own."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from telechat.chat.formats import get_format
from telechat.core.recipe import ModelConfig
from telechat.engine import Engine
from telechat.models.presets import new_model
from telechat.serve.session import ChatModel
from telechat.serve.worker import Worker

from .conftest import serving
from .test_chat_completions import HI, WEATHER, ask, client_of

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "unit": {"enum": ["km", "m"]}},
            "required": ["a", "unit"],
        },
    },
}
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "maximum": 99, "minimum": 0}, "ok": {"type": "boolean"}},
    "required": ["x", "ok"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def url(tokenizer):
    """A server with the real engine and a model that has learned nothing, with room for a block of tools."""
    config = ModelConfig(hidden_size=32, layers=2, heads=4, kv_heads=2, intermediate_size=64, context=1024)
    chat = ChatModel(new_model(config, tokenizer, seed=0).eval(), tokenizer, get_format("telechat3-coder"))
    with serving(chat, Worker(lambda: Engine(chat.model, slots=8, fair=True))) as address:
        yield address


def params_of(engine):
    return engine.seen[-1][0]


def test_every_field_reaches_the_engine(scripted):
    url, engine, _ = scripted("</think>ok<_end>")
    wanted = {
        "temperature": 0.5, "top_p": 0.9, "presence_penalty": 0.25, "frequency_penalty": -0.5, "max_tokens": 9, "seed": 4,
    }  # fmt: skip
    extra = {"top_k": 7, "min_p": 0.05, "repetition_penalty": 1.1, "min_tokens": 2, "stop_token_ids": [99]}
    ask(url, **wanted, logit_bias={"5": -3}, logprobs=True, top_logprobs=2, extra_body=extra)
    params = params_of(engine)
    for name, value in {**wanted, **extra}.items():
        if name not in ("seed", "stop_token_ids"):
            assert getattr(params, name) == value, name
    assert params.logit_bias == ((5, -3.0),)
    assert params.top_logprobs == 2
    assert 99 in params.stop_ids


def test_presets_of_the_cards(scripted):
    url, engine, _ = scripted("</think>ok<_end>")
    ask(url, extra_body={"preset": "agent"})
    assert (params_of(engine).temperature, params_of(engine).top_p) == (0.6, 0.95)
    ask(url, temperature=0.1, extra_body={"preset": "general"})
    assert (params_of(engine).temperature, params_of(engine).repetition_penalty) == (0.1, 1.05)


def test_a_default_preset(scripted):
    url, engine, _ = scripted("</think>ok<_end>", preset="math")
    ask(url)
    assert params_of(engine).temperature == 1.1


def test_a_stop_string_ends_one_sample_and_not_the_others(scripted, chat):
    from .scripted import ids_of

    says = [ids_of(chat.renderer, "</think>one STOP two<_end>"), ids_of(chat.renderer, "</think>" + "long " * 30 + "<_end>")]
    url, engine, worker = scripted(lambda prompt, sample: says[sample])
    answer = ask(url, n=2, stop="STOP")
    assert answer.choices[0].message.content == "one "
    assert answer.choices[1].message.content.strip().endswith("long")
    assert worker.idle or engine.idle


def test_logprobs_of_every_token_with_the_likeliest_beside_it(url):
    answer = ask(url, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for token in content:
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-5)  # greedy: the likeliest
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob


def test_a_json_schema_is_kept_by_a_model_that_has_learned_nothing(url):
    shape = {"type": "json_schema", "json_schema": {"name": "point", "schema": POINT}}
    for seed in range(4):
        answer = ask(url, max_tokens=80, seed=seed, temperature=1.5, response_format=shape)
        choice = answer.choices[0]
        assert choice.finish_reason == "stop"
        value = json.loads(choice.message.content)
        assert set(value) == {"x", "ok"}
        assert isinstance(value["x"], int)
        assert answer.usage.completion_tokens_details.reasoning_tokens <= 41


def test_a_call_can_be_forced_and_named(url):
    for choice in ("required", {"type": "function", "function": {"name": "add"}}):
        for seed in range(3):
            answer = ask(url, max_tokens=500, seed=seed, tools=[ADD], tool_choice=choice, parallel_tool_calls=False)
            made = answer.choices[0]
            assert made.finish_reason == "tool_calls"
            (call,) = made.message.tool_calls
            arguments = json.loads(call.function.arguments)
            assert call.function.name == "add"
            assert arguments["unit"] in ("km", "m")
            assert isinstance(arguments["a"], int)


def test_only_allowed_tools_are_shown_and_called(url):
    picked = {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": picked}
    answer = ask(url, max_tokens=500, seed=1, tools=[WEATHER, ADD], tool_choice=choice, parallel_tool_calls=False)
    assert answer.choices[0].message.tool_calls[0].function.name == "add"


def test_thinking_that_would_use_up_everything_is_ended(url):
    answer = ask(url, max_tokens=60, seed=2, extra_body={"thinking_token_budget": 5})
    assert answer.usage.completion_tokens_details.reasoning_tokens <= 6


def test_a_constrained_answer_that_cannot_end_says_so(url):
    shape = {"type": "json_schema", "json_schema": {"schema": {"type": "string", "minLength": 200}}}
    answer = ask(url, max_tokens=20, seed=2, response_format=shape)
    assert answer.choices[0].finish_reason == "length"


def test_streamed_forced_calls_add_up(url):
    stream = ask(url, max_tokens=500, seed=5, tools=[ADD], tool_choice="required", parallel_tool_calls=False, stream=True)
    pieces = [c.choices[0].delta.tool_calls[0].function.arguments for c in stream if c.choices[0].delta.tool_calls]
    assert set(json.loads("".join(pieces))) == {"a", "unit"}


def test_what_is_cached_is_counted(url):
    messages = [{"role": "user", "content": "tell me about rivers and mountains and the sea"}]
    ask(url, messages=messages, max_tokens=2)
    again = ask(url, messages=messages, max_tokens=2)
    details = again.usage.prompt_tokens_details
    assert 0 < details.cached_tokens < again.usage.prompt_tokens


def test_the_parse_helper_of_the_client(url):
    from pydantic import BaseModel

    class Point(BaseModel):
        x: Literal[1, 2, 3]
        ok: bool

    parsed = client_of(url).chat.completions.parse(model="toy", messages=HI, response_format=Point, max_tokens=100, seed=3)
    assert isinstance(parsed.choices[0].message.parsed, Point)
