"""`/v1/completions`, `/tokenize` and `/detokenize`."""

from __future__ import annotations

import httpx
import openai
import pytest

from .test_chat_completions import client_of


def ask(url: str, **fields):
    return client_of(url).completions.create(**{"model": "toy", "prompt": "Once", "max_tokens": 50, **fields})


def test_text_goes_on_unread(scripted):
    url, engine, _ = scripted("upon a time</think>there was<_end>")
    answer = ask(url)
    assert answer.object == "text_completion"
    assert answer.choices[0].text == "upon a timethere was"
    assert answer.choices[0].finish_reason == "stop"
    shown = ask(url, extra_body={"skip_special_tokens": False})
    assert shown.choices[0].text == "upon a time</think>there was<_end>"
    assert ask(url, echo=True).choices[0].text == "Onceupon a timethere was"
    assert ask(url, max_tokens=None).usage.completion_tokens <= 16
    assert answer.usage.prompt_tokens == len(engine.prompts[0])


def test_fields_without_effect_are_named(scripted):
    url, _, _ = scripted("there was<_end>")
    body = {"model": "toy", "prompt": "Once", "user": "x", "max_tokens": 200_000}
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=20)
    assert answer.headers["x-telechat-notes"] == "ignored: user; max_tokens: lowered to what the context has left"


def test_several_prompts_and_samples(scripted, chat):
    from .scripted import ids_of

    says = [ids_of(chat.renderer, "left<_end>"), ids_of(chat.renderer, "right<_end>")]
    url, engine, _ = scripted(lambda prompt, sample: says[sample])
    answer = ask(url, prompt=["a", "b", "c"], n=2)
    assert [c.index for c in answer.choices] == list(range(6))
    assert [c.text for c in answer.choices] == ["left", "right"] * 3
    ids = chat.tokenizer("a b")["input_ids"]
    ask(url, prompt=ids)
    ask(url, prompt=[ids, ids])
    assert engine.prompts[-1] == engine.prompts[-2] == engine.prompts[-3] == ids


def test_a_stream_adds_up(scripted):
    url, _, _ = scripted("one two three STOP four<_end>")
    whole = ask(url, stop=["STOP"], prompt=["a", "b"])
    texts = {0: "", 1: ""}
    finishes = {}
    for chunk in ask(url, stop=["STOP"], prompt=["a", "b"], stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            finishes[choice.index] = choice.finish_reason or finishes.get(choice.index)
        last = chunk
    assert list(texts.values()) == [c.text for c in whole.choices] == ["one two three "] * 2
    assert finishes == {0: "stop", 1: "stop"}
    assert last.usage.completion_tokens == whole.usage.completion_tokens


def test_a_crash_is_an_error_event_and_no_hang(scripted):
    url, engine, _ = scripted("on and on ", pace=0.002)

    def read() -> None:
        for number, _ in enumerate(ask(url, prompt=["a", "b"], max_tokens=9999, stream=True)):
            if number == 3:
                engine.broken = RuntimeError("boom")

    with pytest.raises(openai.APIError):
        read()


def test_logprobs(scripted):
    url, _, _ = scripted("a b c<_end>")
    logprobs = ask(url, logprobs=0).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)
    assert logprobs.token_logprobs[0] == -0.5


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("prompt", {"prompt": ""}),
        ("prompt", {"prompt": []}),
        ("prompt", {"prompt": [10**9]}),
        ("prompt", {"prompt": ["x"] * 100}),
        ("suffix", {"suffix": "end"}),
        ("best_of", {"best_of": 4}),
        ("max_tokens", {"max_tokens": 0}),
        ("model", {"model": 5}),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(scripted, param, fields):
    url, _, _ = scripted("ok<_end>")
    with pytest.raises(openai.BadRequestError) as error:
        ask(url, **fields)
    assert (error.value.param or "").split(".")[0] == param


def test_tokens_of_a_text_and_of_a_conversation(scripted, chat):
    url, engine, _ = scripted("</think>ok<_end>")
    text = httpx.post(f"{url}/tokenize", json={"prompt": "hello 你好"}, timeout=20).json()
    assert text["tokens"] == chat.tokenizer("hello 你好")["input_ids"]
    assert text["count"] == len(text["tokens"])
    back = httpx.post(f"{url}/detokenize", json={"tokens": text["tokens"]}, timeout=20).json()
    assert back["prompt"] == "hello 你好"
    hi = [{"role": "user", "content": "hi"}]
    talk = httpx.post(f"{url}/tokenize", json={"messages": hi}, timeout=20).json()
    client_of(url).chat.completions.create(model="toy", messages=hi)
    assert talk["tokens"] == engine.prompts[-1]
    shown = {"messages": hi, "add_generation_prompt": False, "return_token_strs": True}
    without = httpx.post(f"{url}/tokenize", json=shown, timeout=20).json()
    assert without["count"] < talk["count"]
    assert without["tokens"] == talk["tokens"][: without["count"]]
    assert without["token_strs"] == chat.tokenizer.convert_ids_to_tokens(without["tokens"])
    assert "token_strs" not in talk
    for path, body in (("tokenize", {}), ("tokenize", {"prompt": "a", "messages": hi}), ("detokenize", {"tokens": [10**8]})):
        assert httpx.post(f"{url}/{path}", json=body, timeout=20).status_code == 400


def test_a_reader_that_lags_behind_is_told_the_end_once(chat):
    """Everything is generated before the first chunk is read."""
    import asyncio
    import json

    from telechat.serve.bodies import TextRequest
    from telechat.serve.text_completions import TextCompletion, prepare_text
    from telechat.serve.worker import Worker

    from .scripted import ScriptedEngine, ids_of

    said = ids_of(chat.renderer, "one two three four<_end>")
    worker = Worker(lambda: ScriptedEngine(lambda prompt, sample: said))

    async def read() -> list[dict]:
        request = TextRequest(model="toy", prompt="Once", max_tokens=50, stream=True)
        completion = TextCompletion(chat, request, prepare_text(chat, worker, request))
        chunks = []
        async for chunk in completion.chunks(worker):
            chunks.append(chunk)
            if len(chunks) == 1:
                await asyncio.sleep(0.3)
        return [json.loads(chunk.removeprefix(b"data: ")) for chunk in chunks[:-1]]

    worker.start()
    try:
        choices = [chunk["choices"][0] for chunk in asyncio.run(read())]
    finally:
        worker.stop()
    assert [choice["finish_reason"] for choice in choices].count("stop") == 1
    assert choices[-1]["finish_reason"] == "stop"
    assert "".join(choice["text"] for choice in choices) == "one two three four"
