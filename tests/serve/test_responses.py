"""`/v1/responses` with the official `openai` client, whole and streamed."""

from __future__ import annotations

import json
import time

import httpx
import openai
import pytest

from telechat.serve.response_tools import ToolNames
from telechat.serve.responses import ResponsesRequest

from .test_chat_completions import CALL, client_of

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Apply a patch."}


def ask(url: str, **fields):
    return client_of(url).responses.create(**{"model": "toy", "input": "hi", **fields})


def test_an_answer_with_thinking(scripted):
    url, _, _ = scripted("let me see\n</think>Hello there.<_end>")
    response = ask(url, instructions="Be kind.")
    assert response.status == "completed"
    assert response.output_text == "Hello there."
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == "let me see"
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.usage.output_tokens_details.reasoning_tokens > 0


def test_a_stream_adds_up_and_its_events_come_in_order(scripted):
    url, _, _ = scripted(f"I look\n</think>One moment. {CALL.format('Paris')}<_end>")
    whole = ask(url, tools=[TOOL])
    with client_of(url).responses.stream(model="toy", input="hi", tools=[TOOL]) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [e.sequence_number for e in events] == sorted(e.sequence_number for e in events)
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output_text == whole.output_text == "One moment."
    assert json.loads(final.output[2].arguments) == {"city": "Paris"}
    types = [e.type for e in events]
    for kind in ("reasoning_text", "output_text"):
        assert f"response.{kind}.delta" in types
        assert types.index(f"response.{kind}.delta") < types.index(f"response.{kind}.done")
    assert types.count("response.output_item.added") == types.count("response.output_item.done") == 3


def test_every_raw_event_has_its_name_and_the_lifecycle_the_whole_response(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    body = {"model": "toy", "input": "hi", "stream": True}
    with httpx.stream("POST", f"{url}/v1/responses", json=body, timeout=20) as answer:
        text = answer.read().decode()
    pairs = [block.split("\n") for block in text.strip().split("\n\n")]
    numbers = []
    for name, data in pairs:
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        numbers.append(event["sequence_number"])
        if "response" in event:
            assert {"id", "output", "tools", "tool_choice", "parallel_tool_calls", "created_at"} <= set(event["response"])
    assert numbers == list(range(len(pairs)))
    assert "[DONE]" not in text


def test_a_conversation_with_calls_and_thinking_comes_back(scripted):
    url, engine, _ = scripted("</think>ok<_end>")
    ask(
        url,
        tools=[TOOL],
        input=[
            {"role": "developer", "content": "Be brief."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "look"}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Paris"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        ],
    )
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    client_of(url).chat.completions.create(
        model="toy",
        tools=[{"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}],
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "reasoning_content": "look", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ],
    )
    assert engine.prompts[0] == engine.prompts[1]


def test_custom_tools_take_and_give_text(scripted):
    call = "<tool_call>apply_patch<param_key>input</param_key><param_value>*** Begin\n+x\n</param_value></tool_call>"
    url, *_ = scripted(f"</think>{call}<_end>")
    with client_of(url).responses.stream(model="toy", input="hi", tools=[PATCH]) as stream:
        kinds = {event.type for event in stream}
        (item,) = stream.get_final_response().output
    assert (item.type, item.name, item.input) == ("custom_tool_call", "apply_patch", "*** Begin\n+x\n")
    assert "response.custom_tool_call_input.done" in kinds
    history = [
        {"role": "user", "content": "hi"},
        {"type": "custom_tool_call", "call_id": item.call_id, "name": "apply_patch", "input": item.input},
        {"type": "custom_tool_call_output", "call_id": item.call_id, "output": "done"},
    ]
    assert ask(url, input=history, tools=[PATCH]).status == "completed"


def test_tools_in_a_namespace(scripted):
    url, _, _ = scripted(f"</think>{CALL.format('Paris')}<_end>")
    answer = ask(url, tools=[{"type": "namespace", "name": "mcp", "tools": [TOOL]}, {"type": "web_search"}])
    assert answer.output[0].name == "weather"
    assert answer.output[0].namespace == "mcp"


def test_tools_of_one_name_in_two_namespaces_are_told_apart(scripted):
    url, _, _ = scripted("</think>" + CALL.format("Paris").replace("weather", "b__weather") + "<_end>")
    tools = [{"type": "namespace", "name": name, "tools": [TOOL]} for name in ("a", "b")]
    answer = ask(url, tools=tools)
    assert (answer.output[0].name, answer.output[0].namespace) == ("weather", "b")
    with client_of(url).responses.stream(model="toy", input="hi", tools=tools) as stream:
        done = [event for event in stream if event.type == "response.function_call_arguments.done"]
        assert stream.get_final_response().output[0].namespace == "b"
    assert [event.name for event in done] == ["weather"]
    forced = {"type": "function", "name": "weather", "namespace": "b"}
    body = ResponsesRequest.model_validate({"model": "toy", "input": "hi", "tools": tools, "tool_choice": forced})
    assert body.as_chat()[0].named_tool == "b__weather"
    called = {"type": "function_call", "call_id": "1", "arguments": "{}", "name": "weather"}
    history = [{**called, "namespace": name, "call_id": name} for name in ("a", "b")]
    results = [{"type": "function_call_output", "call_id": name, "output": "rain"} for name in ("a", "b")]
    body = ResponsesRequest.model_validate({"model": "toy", "input": [*history, *results], "tools": tools})
    assert [c.function.name for c in body.as_chat()[0].messages[0].tool_calls] == ["a__weather", "b__weather"]


def test_a_plain_tool_keeps_its_name_beside_one_of_a_namespace():
    plain = {"type": "function", "name": "search"}
    spaced = {"type": "namespace", "name": "a", "tools": [{"type": "custom", "name": "search"}, {**plain, "name": "other"}]}
    for tools in ([plain, spaced], [spaced, plain], [spaced, plain, {**plain, "name": "a__search"}]):
        names = ToolNames.of(tools)
        shown = names.shown("search", "a")
        assert shown.startswith("a__search")
        assert len({tool["function"]["name"] for tool in names.tools}) == len(names.tools)
        assert names.own("search") == {"name": "search"}
        assert names.own(shown) == {"name": "search", "namespace": "a"}
        assert names.own("other") == {"name": "other", "namespace": "a"}
        assert names.custom == {shown}


def test_many_tools_are_read_in_no_time():
    inner = [{"type": "function", "name": f"t{i}"} for i in range(20_000)]
    begun = time.process_time()
    names = ToolNames.of([{"type": "namespace", "name": "a", "tools": inner}])
    assert names.shown("t19999", "a") == "t19999"
    assert time.process_time() - begun < 2


def test_fields_without_effect_are_named(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    body = {"model": "toy", "input": "hi", "top_logprobs": 3, "n": 5, "include": ["x"], "seed": 1}
    answer = httpx.post(f"{url}/v1/responses", json=body, timeout=20)
    assert answer.status_code == 200
    assert answer.headers["x-telechat-notes"] == "ignored: include, n, top_logprobs"


def test_too_few_tokens(scripted):
    url, _, _ = scripted("</think>on and on and on<_end>")
    response = ask(url, max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[-1].status == "incomplete"


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("previous_response_id", {"previous_response_id": "resp_1"}),
        ("background", {"background": True}),
        ("prompt", {"prompt": {"id": "pmpt_1"}}),
        ("input", {"input": []}),
        ("input", {"input": [{"type": "item_reference", "id": "x"}]}),
        ("input", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]}),
        ("max_output_tokens", {"max_output_tokens": 0}),
        ("messages", {"input": [{"role": "wizard", "content": "x"}]}),
        ("tools", {"tools": [{"type": "function"}]}),
        ("tools", {"tools": [{"type": "namespace", "name": "n", "tools": 5}]}),
        ("tools", {"tools": [{"type": "namespace", "name": "n", "tools": [5]}]}),
        ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "tools": [5]}}),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(scripted, param, fields):
    url, _, _ = scripted("</think>ok<_end>")
    with pytest.raises(openai.BadRequestError) as error:
        ask(url, **fields)
    assert (error.value.param or "").split(".")[0] == param


def test_a_crash_is_a_failed_response(scripted):
    url, engine, _ = scripted("on and on ", pace=0.002)
    last = None
    for number, event in enumerate(ask(url, stream=True)):
        last = event
        if number == 5:
            engine.broken = RuntimeError("boom")
    assert last.type == "response.failed"
    assert last.response.error.message
