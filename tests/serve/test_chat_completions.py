"""What the official `openai` client gets: thinking, content, calls, usage, finish reasons, whole and streamed."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

from telechat.serve.app import NOTES_HEADER
from telechat.serve.job import prepare
from telechat.serve.schemas import ChatRequest
from telechat.serve.worker import Worker

from .conftest import until
from .scripted import ScriptedEngine

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = "<tool_call>weather<param_key>city</param_key><param_value>{}</param_value></tool_call>"
HI = [{"role": "user", "content": "hi"}]
# What the model cards' example sends beside the OpenAI fields.
CARD = {"repetition_penalty": 1.01, "skip_special_tokens": False, "spaces_between_special_tokens": False}


def client_of(url: str, key: str = "EMPTY") -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0, timeout=30)


def ask(url: str, **fields):
    return client_of(url).chat.completions.create(**{"model": "toy", "messages": HI, **fields})


def test_the_cards_example_works_as_it_is(scripted):
    url, _, _ = scripted("我想一想\n</think>生抽用来调味。<_end>")
    answer = ask(url, temperature=0.0, max_tokens=8192, extra_body=CARD)
    choice = answer.choices[0]
    assert choice.message.content == "生抽用来调味。"
    assert choice.message.reasoning_content == "我想一想"
    assert choice.finish_reason == "stop"
    assert (answer.object, answer.model, choice.message.role) == ("chat.completion", "toy", "assistant")


def test_a_whole_answer_with_calls(scripted):
    url, _, _ = scripted(f"look\n</think>{CALL.format('Paris')}{CALL.format('Rome')}<_end>")
    choice = ask(url, tools=[WEATHER]).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls = choice.message.tool_calls
    assert [json.loads(c.function.arguments) for c in calls] == [{"city": "Paris"}, {"city": "Rome"}]
    assert all(c.id and c.function.name == "weather" and c.type == "function" for c in calls)
    assert calls[0].id != calls[1].id
    one = ask(url, tools=[WEATHER], parallel_tool_calls=False).choices[0]
    assert [json.loads(c.function.arguments) for c in one.message.tool_calls] == [{"city": "Paris"}]
    assert one.finish_reason == "tool_calls"


@pytest.mark.parametrize("fields", [{}, {"tools": [WEATHER], "tool_choice": "none"}])
def test_calls_without_tools_are_content(scripted, fields):
    url, engine, _ = scripted(f"</think>{CALL.format('Paris')}<_end>")
    choice = ask(url, **fields).choices[0]
    assert choice.message.tool_calls is None
    assert "Paris" in choice.message.content
    assert choice.finish_reason == "stop"
    plain = ask(url)
    assert engine.prompts[0] == engine.prompts[-1], "tools that may not be called are not shown"
    assert plain.usage.prompt_tokens == len(engine.prompts[0])


def test_the_order_of_the_chunks(scripted):
    url, _, _ = scripted(f"look\n</think>Well. {CALL.format('Paris')}<_end>")
    chunks = list(ask(url, tools=[WEATHER], stream=True, stream_options={"include_usage": True}))
    assert len({(c.id, c.created, c.model) for c in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(c.choices[0].delta.role is None for c in chunks[1:-1])
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
    deltas = [c.choices[0].delta for c in chunks[:-1]]
    assert "".join(d.reasoning_content for d in deltas if getattr(d, "reasoning_content", None)) == "look"
    assert "".join(d.content or "" for d in deltas) == "Well."
    calls = [call for d in deltas for call in d.tool_calls or []]
    assert calls[0].id
    assert calls[0].function.name == "weather"
    assert all(c.id is None and c.function.name is None and c.index == 0 for c in calls[1:])
    assert json.loads("".join(c.function.arguments for c in calls)) == {"city": "Paris"}
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 2) + ["tool_calls"]


def test_the_stream_on_the_wire(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    body = {"model": "toy", "messages": HI, "stream": True}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    first = json.loads(events[0].removeprefix("data: "))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "usage" not in first


def test_a_stream_says_what_the_whole_says(scripted):
    url, _, _ = scripted("two\nlines</think>a 🙂 b\n\nc<_end>")
    whole = ask(url, logprobs=True)
    with client_of(url).chat.completions.stream(model="toy", messages=HI, logprobs=True) as stream:
        streamed = stream.get_final_completion()
    assert streamed.choices[0].message.content == whole.choices[0].message.content == "a 🙂 b\n\nc"
    assert [t.token for t in streamed.choices[0].logprobs.content] == [t.token for t in whole.choices[0].logprobs.content]


def test_usage_counts_what_was_read_and_generated(scripted, chat):
    url, engine, _ = scripted("hmm\n</think>yes<_end>")
    answer = ask(url, n=3)
    made = engine.script([], 0)
    assert answer.usage.prompt_tokens == len(engine.prompts[0])
    assert answer.usage.completion_tokens == 3 * len(made)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3 * made.index(chat.renderer.control_ids["</think>"])
    assert [c.index for c in answer.choices] == [0, 1, 2]


def test_usage_in_every_chunk_counts_up(scripted):
    url, _, _ = scripted("hmm\n</think>yes it is<_end>")
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(ask(url, stream=True, stream_options=options))
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == counts[-2] > 3
    assert len(set(counts)) > 3


def test_thinking_under_the_other_name(scripted):
    url, _, _ = scripted("hmm\n</think>yes<_end>", reasoning_field="reasoning")
    message = ask(url).choices[0].message.model_dump()
    assert (message["reasoning"], message["content"]) == ("hmm", "yes")
    assert "reasoning_content" not in message
    deltas = [chunk.choices[0].delta.model_dump() for chunk in ask(url, stream=True)]
    assert "".join(delta.get("reasoning") or "" for delta in deltas) == "hmm"
    assert not any("reasoning_content" in delta for delta in deltas)


def test_max_tokens_ends_with_length(scripted, chat):
    url, engine, _ = scripted("a long thought that does not end")
    cut = chat.renderer.decode(engine.script([], 0)[:3])
    for name in ("max_tokens", "max_completion_tokens"):
        answer = ask(url, **{name: 3})
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 3
        assert answer.choices[0].message.content is None
        assert answer.choices[0].message.reasoning_content == cut.strip()


def test_stop_strings_cut_the_content_and_end_the_request(scripted):
    url, _, worker = scripted("think END\n</think>first END second")  # goes on for ever
    for stop in ("END", ["nowhere", "END"]):
        choice = ask(url, stop=stop, max_tokens=10_000).choices[0]
        assert choice.message.content == "first "
        assert choice.message.reasoning_content == "think END"
        assert choice.finish_reason == "stop"
    streamed = list(ask(url, stop="END", stream=True, max_tokens=10_000))
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == "first "
    until(lambda: worker.idle)


def test_control_words_never_show(scripted):
    url, _, _ = scripted("</think>a</think>b<think>c<_end>")
    for fields in ({}, {"extra_body": CARD}):
        assert ask(url, **fields).choices[0].message.content == "abc"


def test_history_with_thinking_and_calls_is_read(scripted):
    url, engine, _ = scripted("</think>ok<_end>")
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    for thinking in ("reasoning_content", "reasoning"):
        said = {"role": "assistant", "content": None, thinking: "let me look", "tool_calls": [call]}
        ask(url, tools=[WEATHER], messages=[*HI, said, {"role": "tool", "tool_call_id": "c1", "content": "sunny"}])
    assert engine.prompts[0] == engine.prompts[1]


def test_settings_without_effect_are_named(scripted, caplog):
    url, _, _ = scripted("</think>ok<_end>")
    answer = client_of(url).chat.completions.with_raw_response.create(
        model="toy", messages=HI, user="me", extra_body={"no such\nthing": 1, "use_beam_search": True}
    )
    note = answer.headers[NOTES_HEADER]
    assert "use_beam_search" in note
    assert "user" in note
    assert "1 more" in note
    assert "use_beam_search" in caplog.text
    quiet = client_of(url).chat.completions.with_raw_response.create(model="toy", messages=HI, max_tokens=5)
    assert NOTES_HEADER not in quiet.headers


def test_a_crash_in_the_engine_is_an_error_not_a_hang(scripted):
    url, engine, _ = scripted("on and on ", pace=0.002)
    stream = ask(url, stream=True, max_tokens=10**6)
    next(stream)
    engine.broken = RuntimeError("secret detail")
    with pytest.raises(openai.APIError) as error:
        list(stream)
    assert "secret" not in str(error.value)
    with pytest.raises(openai.InternalServerError) as error:
        ask(url)
    assert error.value.body["type"] == "server_error"
    assert "secret" not in str(error.value)
    engine.broken = None
    assert ask(url, max_tokens=2).usage.completion_tokens == 2


def test_calls_of_strict_tools_are_held_to_their_schemas(chat):
    pytest.importorskip("llguidance")
    worker = Worker(lambda: ScriptedEngine(lambda prompt, sample: [chat.renderer.end_id]))
    tool = {"type": "function", "function": {**WEATHER["function"], "strict": True}}

    def job(**fields):
        return prepare(chat, worker, ChatRequest.model_validate({"model": "toy", "messages": HI, **fields}))

    assert job(tools=[WEATHER]).constraints == [None]
    assert job(tools=[tool], tool_choice="none").constraints == [None]
    made = job(tools=[tool], n=2)
    assert all(made.constraints)
    assert not made.notes
    free = made.constraints[0]  # the thinking has no bound: nothing waits that must be said
    for token in chat.renderer.encode("a b c d e f g h") * 10:
        assert free.allowed()[token]
        free.accept(token)
