"""`LLM` and `SamplingParams`: scripts for vLLM run with one import changed."""

from __future__ import annotations

import pytest

import telechat
from telechat import LLM, SamplingParams
from telechat.core.errors import UserError


@pytest.fixture(scope="module")
def llm(checkpoint):
    return LLM(model=checkpoint, trust_remote_code=True, tensor_parallel_size=4, dtype="bfloat16", seed=1)


def test_the_names_are_there_without_being_imported_before():
    assert telechat.LLM is LLM
    with pytest.raises(AttributeError):
        _ = telechat.nothing


def test_texts_and_ids_give_the_same(llm):
    params = SamplingParams(temperature=0.0, repetition_penalty=1.01, max_tokens=12)
    (by_text,) = llm.generate(["hello"], params)
    ids = llm.get_tokenizer()("hello")["input_ids"]
    (by_ids,) = llm.generate({"prompt_token_ids": ids}, params)
    (bare,) = llm.generate(ids, params)
    assert by_text.prompt == "hello"
    assert by_text.prompt_token_ids == by_ids.prompt_token_ids == ids
    assert by_text.outputs[0].token_ids == by_ids.outputs[0].token_ids == bare.outputs[0].token_ids
    assert by_text.outputs[0].text == by_ids.outputs[0].text
    assert by_text.outputs[0].finish_reason in ("stop", "length")


def test_the_text_is_what_the_ids_say(llm):
    params = [SamplingParams(max_tokens=8, seed=seed, ignore_eos=True, skip_special_tokens=False) for seed in range(60)]
    whole = 0
    for output in llm.generate(["hello"] * 60, params):
        made = output.outputs[0]
        assert len(made.token_ids) == 8
        assert made.finish_reason == "length"
        if "\ufffd" not in made.text:  # bytes that are no character: one by one here, all or none when decoded together
            assert made.text == llm.get_tokenizer().decode(made.token_ids)
            whole += 1
    assert whole > 5


def test_samples_seeds_and_order(llm):
    params = SamplingParams(n=3, max_tokens=10, seed=5, temperature=1.2)
    prompts = ["a", "b b b b", "c"]
    first = llm.generate(prompts, params)
    again = llm.generate(prompts, params)
    assert [o.prompt for o in first] == prompts
    assert [[c.token_ids for c in o.outputs] for o in first] == [[c.token_ids for c in o.outputs] for o in again]
    assert len({tuple(c.token_ids) for c in first[0].outputs}) > 1
    free = SamplingParams(max_tokens=10, temperature=1.5)
    assert llm.generate("a", free)[0].outputs[0].token_ids != llm.generate("a", free)[0].outputs[0].token_ids


def test_one_setting_for_each_prompt(llm):
    outputs = llm.generate(
        ["a", "b"], [SamplingParams(max_tokens=2, ignore_eos=True), SamplingParams(max_tokens=5, ignore_eos=True)]
    )
    assert [len(o.outputs[0].token_ids) for o in outputs] == [2, 5]
    with pytest.raises(UserError):
        llm.generate(["a", "b"], [SamplingParams()])


def test_stop_strings_and_stop_ids(llm):
    params = SamplingParams(temperature=0.0, max_tokens=30, ignore_eos=True)
    (free,) = llm.generate("hello", params)
    whole = free.outputs[0]
    stop = whole.text[4:6]
    (cut,) = llm.generate("hello", SamplingParams(temperature=0.0, max_tokens=30, ignore_eos=True, stop=stop))
    assert cut.outputs[0].text == whole.text[: whole.text.find(stop)]
    assert (cut.outputs[0].finish_reason, cut.outputs[0].stop_reason) == ("stop", stop)
    token = whole.token_ids[5]
    (by_id,) = llm.generate("hello", SamplingParams(temperature=0.0, max_tokens=30, ignore_eos=True, stop_token_ids=[token]))
    assert by_id.outputs[0].stop_reason == token
    assert by_id.outputs[0].token_ids == whole.token_ids[: whole.token_ids.index(token) + 1]


def test_logprobs(llm):
    (output,) = llm.generate("hello", SamplingParams(temperature=0.0, max_tokens=4, logprobs=2, ignore_eos=True))
    rows = output.outputs[0].logprobs
    assert len(rows) == 4
    for token, row in zip(output.outputs[0].token_ids, rows, strict=True):
        assert row[token].rank == 1
        assert len(row) == 2
    assert output.outputs[0].cumulative_logprob == pytest.approx(
        sum(row[t].logprob for t, row in zip(output.outputs[0].token_ids, rows, strict=True)), abs=1e-5
    )


def test_chat(llm):
    talk = [{"role": "user", "content": "hi"}]
    params = SamplingParams(temperature=0.0, max_tokens=6)
    (one,) = llm.chat(talk, params)
    both = llm.chat([talk, talk], params)
    assert len(both) == 2
    assert both[0].outputs[0].token_ids == one.outputs[0].token_ids
    assert one.prompt.endswith("<_bot><think>")


def test_what_does_not_fit_is_refused(llm):
    with pytest.raises(UserError, match="context"):
        llm.generate("word " * 2000)


def test_a_batch_that_fails_leaves_nothing_for_the_next(llm):
    params = SamplingParams(temperature=0.0, max_tokens=8)
    (expected,) = llm.generate("hello", params)
    with pytest.raises(UserError, match="context"):
        llm.generate(["hello", "word " * 2000], params)
    (again,) = llm.generate("hello", params)
    assert again.outputs[0].token_ids == expected.outputs[0].token_ids
    assert llm.engine.idle


def test_defaults_are_all_of_the_checkpoints(llm, monkeypatch):
    from telechat.serve.session import Defaults

    monkeypatch.setattr(llm.chat_model, "defaults", Defaults(0.5, 0.6, 7, 1.03))
    found = llm.get_default_sampling_params()
    assert (found.temperature, found.top_p, found.top_k, found.repetition_penalty) == (0.5, 0.6, 7, 1.03)
