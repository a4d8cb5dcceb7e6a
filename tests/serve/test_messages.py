"""`/v1/messages` with the official `anthropic` client, whole and streamed."""

from __future__ import annotations

import anthropic
import httpx
import pytest

from telechat.chat.formats import get_format
from telechat.chat.presets import get_preset
from telechat.serve.messages import BILLING, CountRequest, MessagesRequest

from .test_chat_completions import CALL

TOOL = {
    "name": "weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
HI = [{"role": "user", "content": "hi"}]


def client_of(url: str, key: str = "any") -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=key, base_url=url, max_retries=0, timeout=30)


def ask(url: str, **fields):
    return client_of(url).messages.create(**{"model": "toy", "max_tokens": 500, "messages": HI, **fields})


def test_an_answer_with_thinking(scripted):
    url, _, _ = scripted("let me see\n</think>Hello there.<_end>")
    message = ask(url)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == "let me see"
    assert message.content[0].signature
    assert message.content[1].text == "Hello there."
    assert (message.stop_reason, message.role, message.type) == ("end_turn", "assistant", "message")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    hidden = ask(url, thinking={"type": "disabled"})
    assert [block.type for block in hidden.content] == ["text"]


def test_calls(scripted):
    url, _, _ = scripted(f"</think>{CALL.format('Paris')}{CALL.format('Rome')}<_end>")
    message = ask(url, tools=[TOOL])
    assert [block.type for block in message.content] == ["tool_use", "tool_use"]
    assert [block.input for block in message.content] == [{"city": "Paris"}, {"city": "Rome"}]
    assert message.stop_reason == "tool_use"
    one = ask(url, tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert len(one.content) == 1


def test_a_stream_adds_up_to_the_whole(scripted):
    url, _, _ = scripted(f"I look\n</think>One moment. {CALL.format('Paris')}<_end>")
    whole = ask(url, tools=[TOOL])
    with client_of(url).messages.stream(model="toy", max_tokens=500, messages=HI, tools=[TOOL]) as stream:
        names = [event.type for event in stream]
        final = stream.get_final_message()
    assert [b.type for b in final.content] == [b.type for b in whole.content] == ["thinking", "text", "tool_use"]
    assert final.content[0].thinking == whole.content[0].thinking
    assert final.content[0].signature == whole.content[0].signature
    assert final.content[1].text == whole.content[1].text
    assert final.content[2].input == {"city": "Paris"}
    assert final.stop_reason == "tool_use"
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert names[0] == "message_start"
    assert names[-1] == "message_stop"


def test_stop_sequences_are_named(scripted):
    url, _, _ = scripted("</think>one STOP two<_end>")
    message = ask(url, stop_sequences=["END", "STOP"])
    assert (message.content[0].text, message.stop_reason, message.stop_sequence) == ("one ", "stop_sequence", "STOP")


def test_too_few_tokens(scripted):
    url, _, _ = scripted("</think>on and on and on<_end>")
    assert ask(url, max_tokens=3).stop_reason == "max_tokens"


def test_a_tool_conversation_is_the_same_prompt_as_in_the_other_api(chat):
    translated = MessagesRequest(
        model="toy",
        max_tokens=5,
        system=[{"type": "text", "text": f"{BILLING}: cch=abc"}, {"type": "text", "text": "Be brief."}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "look", "signature": "x"},
                    {"type": "redacted_thinking", "data": "…"},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]},
                    {"type": "text", "text": "and now?"},
                ],
            },
        ],
        tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}],
    ).as_chat()
    roles = [(m.role, m.content) for m in translated.messages]
    assert roles == [
        ("system", "Be brief."), ("user", "Weather?"), ("assistant", None), ("tool", "sunny"), ("user", "and now?"),
    ]  # fmt: skip
    assert translated.messages[2].reasoning_content == "look"
    assert [tool.function.name for tool in translated.tools] == ["weather"]
    ids = chat.prompt(translated.conversation(), translated.offered_tools)
    text = chat.renderer.decode(ids)
    assert "cch=abc" not in text
    assert "<param_value>Paris</param_value>" in text


def test_thinking_between_tool_calls_stays(chat):
    assert get_format("telechat3-coder").thinking == "current"
    request = CountRequest(
        model="toy",
        messages=[
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "let me look it up", "signature": ""},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": "no"}]},
        ],
    ).as_chat()
    text = chat.renderer.decode(chat.prompt(request.conversation(), request.offered_tools))
    assert "let me look it up" in text
    assert "Error: no" in text


def test_tokens_are_counted_as_they_are_used(scripted):
    url, engine, _ = scripted("</think>ok<_end>")
    counted = client_of(url).messages.count_tokens(model="toy", messages=HI, system="Be brief.", tools=[TOOL])
    ask(url, system="Be brief.", tools=[TOOL])
    assert counted.input_tokens == len(engine.prompts[-1])


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"messages": []}, 400, "invalid_request_error"),
        ({"max_tokens": 0}, 400, "invalid_request_error"),
        ({"model": "claude"}, 404, "not_found_error"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, 400, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "invalid_request_error"),
        ({"temperature": 9}, 400, "invalid_request_error"),
        ({"tools": [TOOL], "tool_choice": {"type": "perhaps"}}, 400, "invalid_request_error"),
        ({"tools": [TOOL], "tool_choice": {"type": ["any"]}}, 400, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": 5}]}]}, 400, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [5]}]}]}, 400, "invalid_request_error"),
    ],
)
def test_errors_have_anthropics_shape(scripted, fields, status, kind):
    url, _, _ = scripted("</think>ok<_end>")
    body = {"model": "toy", "max_tokens": 5, "messages": HI, **fields}
    answer = httpx.post(f"{url}/v1/messages", json=body, timeout=20)
    assert answer.status_code == status
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == kind
    assert answer.json()["error"]["message"]


def test_a_prompt_that_is_too_long_says_so_as_clients_expect(scripted):
    url, _, _ = scripted("</think>ok<_end>", max_len=20)
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        ask(url, messages=[{"role": "user", "content": "word " * 100}])


def test_the_key_is_taken_from_either_header(scripted):
    url, _, _ = scripted("</think>ok<_end>", api_keys=("secret",))
    assert ask_with(url, {"x-api-key": "secret"}).status_code == 200
    assert ask_with(url, {"authorization": "Bearer secret"}).status_code == 200
    refused = ask_with(url, {"x-api-key": "wrong"})
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"
    assert refused.json()["type"] == "error"


def ask_with(url: str, headers: dict[str, str]) -> httpx.Response:
    body = {"model": "toy", "max_tokens": 5, "messages": HI}
    return httpx.post(f"{url}/v1/messages?beta=true", json=body, headers=headers, timeout=20)


def test_any_model_name_where_that_is_allowed(scripted):
    url, _, _ = scripted("</think>ok<_end>", any_name=True)
    assert ask(url, model="claude-sonnet-4-5").model == "claude-sonnet-4-5"


def test_a_crash_is_an_error_event(scripted):
    url, engine, _ = scripted("on and on ", pace=0.002)

    def read() -> None:
        with client_of(url).messages.stream(model="toy", max_tokens=9999, messages=HI) as stream:
            for number, _ in enumerate(stream):
                if number == 3:
                    engine.broken = RuntimeError("boom")

    with pytest.raises(anthropic.APIError):
        read()


def test_fields_of_chat_requests_count_here_too(scripted):
    url, engine, _ = scripted("</think>ok<_end>")
    ask(url, extra_body={"preset": "math", "repetition_penalty": 1.3, "stop": ["never"], "cache_salt": "mine"})
    (params,) = engine.seen[-1]
    preset = get_preset("math", get_format("telechat3-coder"))
    assert (params.temperature, params.top_p, params.repetition_penalty) == (preset.temperature, preset.top_p, 1.3)
    assert engine.salts[-1] == "mine"
    ask(url, extra_body={"preset": None, "top_k": 7})
    assert engine.seen[-1][0].top_k == 7
    with pytest.raises(anthropic.BadRequestError, match="preset"):
        ask(url, extra_body={"preset": "poetry"})


def test_an_error_names_its_request(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    answer = httpx.post(f"{url}/v1/messages", json={"model": "toy"}, timeout=20)
    assert answer.json()["request_id"] == answer.headers["request-id"]


def test_models_as_the_client_shows_them(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    [model] = client_of(url).models.list().data
    assert (model.id, model.type, model.display_name) == ("toy", "model", "toy")
    assert model.created_at.year >= 2026
    assert client_of(url).models.retrieve("toy").id == "toy"
    assert "object" in httpx.get(f"{url}/v1/models", timeout=20).json()


def test_tools_that_may_not_be_called_are_not_counted(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    count = client_of(url).messages.count_tokens
    plain, shown = count(model="toy", messages=HI), count(model="toy", messages=HI, tools=[TOOL])
    hidden = count(model="toy", messages=HI, tools=[TOOL], tool_choice={"type": "none"})
    assert hidden.input_tokens == plain.input_tokens < shown.input_tokens


def test_a_bug_is_an_error_that_names_its_request_too(scripted, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("boom")

    url, _, _ = scripted("</think>ok<_end>")
    monkeypatch.setattr("telechat.serve.app.prepare", broken)
    answer = httpx.post(f"{url}/v1/messages", json={"model": "toy", "max_tokens": 5, "messages": HI}, timeout=20)
    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert "boom" not in answer.text
    other = httpx.post(f"{url}/v1/chat/completions", json={"model": "toy", "messages": HI}, timeout=20)
    assert other.json()["error"]["type"] == "server_error"
    monkeypatch.undo()
    assert ask(url).content[-1].text == "ok"
