"""Ids and loss masks: what was typed stays text, what was generated stays as it was generated."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from chat_cases import (
    CLASSIC,
    CODER,
    TELECHAT3,
    WEATHER,
    bot,
    byte_tokenizer,
    call,
    conversations,
    result,
    sentence_tokenizer,
    user,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from telechat.chat.formats import CONTROL_WORDS, FORMATS, Format, get_format
from telechat.chat.parser import parse
from telechat.chat.render import Renderer, render_text
from telechat.chat.segments import segments
from telechat.core.errors import UserError
from telechat.core.types import Message, ToolCall

RENDERERS = {
    (fmt.name, kind): Renderer(tokenizer(), fmt)
    for fmt in FORMATS.values()
    for kind, tokenizer in (("bytes", byte_tokenizer), ("sentencepiece", sentence_tokenizer))
}
each_renderer = pytest.mark.parametrize("renderer", RENDERERS.values(), ids=[" ".join(key) for key in RENDERERS])
each_format = pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
CODER_RENDERER = RENDERERS["telechat3-coder", "bytes"]


def trained_text(renderer: Renderer, ids: list[int], mask: list[int]) -> str:
    return renderer.decode([i for i, m in zip(ids, mask, strict=True) if m])


@each_renderer
@settings(deadline=None, max_examples=25)
@given(messages=conversations())
def test_ids_decode_to_the_text_and_have_a_mask(renderer: Renderer, messages: list[Message]) -> None:
    rendered = renderer.render(messages, [WEATHER])
    assert rendered.text == render_text(renderer.format, messages, [WEATHER])
    assert len(rendered.ids) == len(rendered.mask)
    assert set(rendered.mask) <= {0, 1}
    assert renderer.decode(rendered.ids) == rendered.text


@each_renderer
def test_control_words_of_the_template_are_tokens_and_typed_ones_are_text(renderer: Renderer) -> None:
    typed = "".join(CONTROL_WORDS)
    ids = renderer.render([user(typed)]).ids
    plain = renderer.render([user("x")]).ids
    control = set(renderer.control_ids.values())
    assert [i for i in ids if i in control] == [i for i in plain if i in control]
    assert typed in renderer.decode(ids)


def test_the_tool_block_holds_real_call_tokens_and_tools_are_text() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "<tool_call> starts a call"}}
    control = [part.text for part in segments(CODER, [user("q")], [tool], add_generation_prompt=False) if part.control]
    assert control == ["<_system>", "<tool_call>", "</tool_call>", "<_user>"]


def test_ids_come_from_names_and_not_from_numbers() -> None:
    shuffled = {word: i for i, word in enumerate(reversed(CONTROL_WORDS))}
    renderer = CODER_RENDERER
    assert renderer.control_ids == {w: byte_tokenizer().convert_tokens_to_ids(w) for w in CONTROL_WORDS}
    assert renderer.control_ids != shuffled


def test_a_vocabulary_without_the_family_words_is_refused() -> None:
    from tokenizers import Tokenizer, models

    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "<_user>": 1}, "a")))
    with pytest.raises(UserError, match=r"no <_system> <_bot> <_end>"):
        Renderer(other, CODER)


def test_words_that_a_vocabulary_lacks_are_spelled_as_text() -> None:
    """TeleChat2's tokenizer has no `<tool_call>`: its template writes it, and the model reads it as text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    required = ["<_system>", "<_user>", "<_bot>", "<_end>"]
    core.train_from_iterator(["x"], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=required))
    renderer = Renderer(PreTrainedTokenizerFast(tokenizer_object=core), CLASSIC)
    rendered = renderer.render([user("q"), bot(None, None, call(city="x"))])
    assert renderer.decode(rendered.ids) == rendered.text


def test_an_added_token_that_is_not_special_stays_text_when_typed() -> None:
    core = type(byte_tokenizer().backend_tokenizer).from_str(byte_tokenizer().backend_tokenizer.to_str())
    state = core.to_str().replace('"special":true', '"special":false').replace('"special": true', '"special": false')
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=type(core).from_str(state))
    ids = Renderer(tokenizer, CODER).render([user("a <_end> b")]).ids
    assert ids.count(tokenizer.convert_tokens_to_ids("<_end>")) == 0


def test_rendering_leaves_the_tokenizer_as_it_was() -> None:
    tokenizer = byte_tokenizer()
    before = tokenizer("a<_end>b", add_special_tokens=False)["input_ids"]
    Renderer(tokenizer, CODER).render([user("a<_end>b")])
    assert tokenizer("a<_end>b", add_special_tokens=False)["input_ids"] == before
    assert tokenizer.convert_tokens_to_ids("<_end>") in before


def test_text_that_utf8_cannot_write_is_replaced() -> None:
    assert CODER_RENDERER.decode(CODER_RENDERER.encode("a\ud800b")) == "a\ufffdb"


def test_long_and_repeated_texts_encode_alike() -> None:
    long = "the tool says " * 2000
    assert CODER_RENDERER.encode(long) == CODER_RENDERER.encode(long)
    assert CODER_RENDERER.decode(CODER_RENDERER.encode(long)) == long


@pytest.mark.parametrize(
    ("fmt", "trained"),
    [
        ("telechat2.5", 'Hi.<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call><_end>Done.<_end>'),
        ("telechat3", 'Hi.<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call><_end>Done.<_end>'),
        ("telechat3-coder", "\nplan\n</think>Hi.<tool_call>get_weather</tool_call><_end>Done.<_end>"),
    ],
)
def test_all_assistant_turns_of_a_trajectory_are_trained_and_nothing_else(fmt: str, trained: str) -> None:
    renderer = RENDERERS[fmt, "bytes"]
    messages = [user("q"), bot("Hi.", "plan", call()), result("r"), bot("Done.")]
    rendered = renderer.render(messages, [WEATHER], add_generation_prompt=False)
    assert trained_text(renderer, rendered.ids, rendered.mask) == trained


@pytest.mark.parametrize(
    ("fmt", "trained"),
    [
        ("telechat2.5", "42<_end>"),
        ("t1", "\n</think>\n42<_end>"),
        ("telechat3", "\n</think>\n42<_end>"),
        ("telechat3-coder", "</think>42<_end>"),
    ],
)
def test_an_answer_without_thinking_as_the_model_generates_it(fmt: str, trained: str) -> None:
    renderer = RENDERERS[fmt, "bytes"]
    rendered = renderer.render([user("q"), bot("42")], add_generation_prompt=False, as_generated=True)
    assert trained_text(renderer, rendered.ids, rendered.mask) == trained
    prompt = renderer.render([user("q")]).ids
    assert rendered.ids[: len(prompt)] == prompt
    assert renderer.decode(renderer.completion_ids(bot("42"))) == trained


@each_renderer
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_conversation_that_grows_keeps_every_generated_token(renderer: Renderer, data: st.DataObject) -> None:
    """Turn by turn with tool results: the ids so far never change, and are those of the whole as generated."""
    text = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=5)  # SentencePiece reads it back as a space
    start = [user("q")]
    messages, rendered = list(start), renderer.render(start, [WEATHER])
    ids, mask = rendered.ids, rendered.mask
    for _ in range(data.draw(st.integers(1, 3))):
        turn = bot(data.draw(text), data.draw(st.none() | text), call(city=data.draw(text)))
        made = renderer.completion_ids(turn)
        ids, mask = ids + made, mask + [1] * len(made)
        results = [result(data.draw(text)) for _ in range(data.draw(st.integers(1, 2)))]
        grown = renderer.extend(ids, results, [WEATHER], mask=mask)
        assert grown.ids[: len(ids)] == ids
        assert grown.mask == mask + [0] * (len(grown.ids) - len(ids))
        messages += [turn, *results]
        ids, mask = grown.ids, grown.mask
    whole = renderer.render(messages, [WEATHER], as_generated=True)
    assert (ids, mask) == (whole.ids, whole.mask)
    assert grown.text == whole.text


@each_renderer
def test_what_was_generated_parses_back_to_the_same_message(renderer: Renderer) -> None:
    turn = bot("Looking.", "which?" if renderer.format.thinks else None, ToolCall("get_weather", {"city": " a\n", "days": 2}))
    output = renderer.decode(renderer.completion_ids(turn))
    assert parse(renderer.format, output, [WEATHER]).message == turn


def test_a_turn_that_was_cut_is_closed_without_training_it() -> None:
    prompt = CODER_RENDERER.render([user("q")]).ids
    cut = [*prompt, *CODER_RENDERER.encode("\nI was")]
    grown = CODER_RENDERER.extend(cut, [result("r")], mask=[0] * len(prompt) + [1] * (len(cut) - len(prompt)))
    assert grown.ids[len(cut)] == CODER_RENDERER.end_id
    assert grown.mask[len(cut) :] == [0] * (len(grown.ids) - len(cut))
    assert grown.text.endswith("\nI was<_end><_observation><tool_response>r</tool_response><_bot><think>")


def test_a_format_without_thinking_goes_on_after_a_user_message() -> None:
    renderer = RENDERERS["telechat2.5", "bytes"]
    ids = renderer.render([user("a")]).ids + renderer.completion_ids(bot("b"))
    assert renderer.extend(ids, [user("c")]).ids == renderer.render([user("a"), bot("b"), user("c")]).ids


@pytest.mark.parametrize("name", ["telechat3-coder", "telechat3", "t1"])
def test_where_thinking_is_dropped_a_user_message_starts_afresh(name: str) -> None:
    renderer = RENDERERS[name, "bytes"]
    history = [user("a"), bot("b", "because")]
    ids = renderer.render([user("a")]).ids + renderer.completion_ids(history[1])
    with pytest.raises(ValueError, match="needs `history`"):
        renderer.extend(ids, [user("c")])
    fresh = renderer.extend(ids, [user("c")], history=history)
    assert fresh.ids == renderer.render([*history, user("c")]).ids
    assert "because" not in fresh.text
    assert not any(fresh.mask)


def test_thinking_that_stays_lets_a_user_message_be_appended() -> None:
    ids = CODER_RENDERER.render([user("a")]).ids + CODER_RENDERER.completion_ids(bot("b", "because"))
    grown = CODER_RENDERER.extend(ids, [user("c")], clear_thinking=False)
    assert grown.ids == CODER_RENDERER.render([user("a"), bot("b", "because"), user("c")], clear_thinking=False).ids
    assert not CODER_RENDERER.drops_thinking([result("r")])
    assert RENDERERS["telechat3", "bytes"].drops_thinking([user("c")], clear_thinking=False)


def test_only_results_and_user_messages_follow_a_generated_turn() -> None:
    with pytest.raises(UserError, match="system message cannot follow"):
        CODER_RENDERER.extend([1], [Message("system", "s")])
    with pytest.raises(ValueError, match="mask has 1"):
        CODER_RENDERER.extend([1, 2], [result("r")], mask=[0])


def test_the_length_of_thinking_in_a_completion() -> None:
    ids = CODER_RENDERER.completion_ids(bot("b", "because"))
    assert CODER_RENDERER.decode(ids[: CODER_RENDERER.thinking_length(ids)]) == "\nbecause\n"
    assert CODER_RENDERER.thinking_length(CODER_RENDERER.encode("no end")) == 0


@each_format
def test_formats_are_found_by_name_and_near_names_are_shown(fmt: Format) -> None:
    assert get_format(fmt.name) is fmt
    with pytest.raises(UserError, match=fmt.name):
        get_format(fmt.name + "s")


def test_segments_of_text_are_not_split_without_need() -> None:
    parts = segments(TELECHAT3, [user("q"), bot("a", "t", call(city="x"))], as_generated=True)
    text = [p for p in parts if not p.control]
    for left, right in pairwise(parts):
        assert left.control or right.control or left.trained != right.trained
    assert all(p.text for p in text)


def test_options_travel_from_the_renderer_to_the_segments() -> None:
    messages: list[Any] = [user("a"), bot("b", "t"), user("c"), bot("d")]
    assert "t" in CODER_RENDERER.render(messages, clear_thinking=False).text
    assert CODER_RENDERER.render(messages, continue_final_message=True).text.endswith("<_bot></think>d")
