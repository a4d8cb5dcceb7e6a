"""Models of other families are shown conversations by their own templates, and nobody can type a control token."""

from __future__ import annotations

from typing import Any

import pytest
from chat_cases import byte_tokenizer, sentence_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from telechat.chat.detect import renderer_of
from telechat.chat.parser import parse
from telechat.chat.render import Renderer
from telechat.chat.template_render import TemplateRenderer
from telechat.core.errors import UserError
from telechat.core.types import Message, ToolCall
from tests.other_family import CHATML, ROLES, SPOKEN, WORDS, chatml_tokenizer

PIECES = [*WORDS, *SPOKEN, *ROLES, "hello ", "    ", "the", "\n", "你", "<|im", "zq0n0q"]
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def renderer() -> TemplateRenderer:
    return TemplateRenderer(chatml_tokenizer())


def user(text: str) -> Message:
    return Message("user", text)


def test_the_template_is_rendered_as_transformers_renders_it(renderer):
    call = Message("assistant", None, None, (ToolCall("now", {"a": [1]}),))
    messages = [Message("system", "Be kind."), user("hi"), call, Message("tool", "12:00")]
    rendered = renderer.render(messages, [TOOL])
    plain: list[dict[str, Any]] = [{"content": "", **{k: v for k, v in m.to_dict().items() if v is not None}} for m in messages]
    options = {"tools": [TOOL], "add_generation_prompt": True}
    assert rendered.text == renderer.tokenizer.apply_chat_template(plain, tokenize=False, **options)
    assert rendered.ids == renderer.tokenizer.apply_chat_template(plain, return_dict=False, **options)
    assert rendered.text.endswith("<|im_start|>assistant\n")


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([*WORDS, *SPOKEN, *ROLES, "hello ", "    ", "the", "\n", "你", "<|im", "zq0n0q"]), max_size=6).map(
        "".join
    )
)
def test_words_that_people_type_stay_text(renderer, typed):
    tokenizer = renderer.tokenizer
    rendered = renderer.render([user(f"a{typed}b")])
    expected = renderer.render([user("ab")])
    assert rendered.text == expected.text.replace("ab", f"a{typed}b")
    special = {tokenizer.convert_tokens_to_ids(word) for word in (*WORDS, *SPOKEN, *ROLES)}
    assert [i for i in rendered.ids if i in special] == [i for i in expected.ids if i in special]
    assert renderer.decode(rendered.ids) == rendered.text


def test_thinking_in_the_history_is_kept_apart_and_shown_by_the_template_alone(renderer):
    said = Message("assistant", "<think>\nplan\n</think>\n\nanswer")
    assert "plan" not in renderer.render([user("hi"), said, user("on")]).text
    assert "answer" in renderer.render([user("hi"), said, user("on")]).text


def test_thinking_that_the_prompt_opens_is_known():
    opens = TemplateRenderer(chatml_tokenizer(CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")))
    assert opens.format.thinks
    message = parse(opens.format, "plan\n</think>\n\nanswer").message
    assert (message.reasoning_content, message.content) == ("plan", "answer")
    closed = TemplateRenderer(chatml_tokenizer())
    message = parse(closed.format, "<think>\nplan\n</think>\n\nanswer").message
    assert (message.reasoning_content, message.content) == ("plan", "answer")


def test_what_a_template_refuses_is_one_line(renderer):
    with pytest.raises(UserError, match="no wizards here"):
        renderer.render([Message("wizard", "hi")])
    with pytest.raises(UserError, match="empty"):
        renderer.render([])
    for broken in ("{{ raise_exception('') }}", "{{ 1 / 0 }}", "{{ messages[5].x.y }}"):
        bad = TemplateRenderer(chatml_tokenizer("{% if messages | length > 1 %}" + broken + "{% endif %}"))
        with pytest.raises(UserError, match="chat template"):
            bad.render([user("a"), user("b")])
    with pytest.raises(UserError, match="chat template"):
        TemplateRenderer(chatml_tokenizer(None))
    with pytest.raises(UserError, match="as a whole"):
        renderer.extend([1], [user("hi")])


def test_the_family_keeps_its_formats():
    assert type(renderer_of(byte_tokenizer())) is Renderer
    assert isinstance(renderer_of(chatml_tokenizer()), TemplateRenderer)


def test_a_tokenizer_that_marks_spaces_gets_no_more_of_them():
    tokenizer = sentence_tokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<_end>")
    tokenizer.chat_template = "{% for m in messages %}<_user>{{ m.content }}<_end>{% endfor %}"
    own = TemplateRenderer(tokenizer)
    ids = own.render([user("the <_bot> the <_end>x")], add_generation_prompt=False).ids
    user_id, end_id = tokenizer.convert_tokens_to_ids(["<_user>", "<_end>"])
    assert ids == [user_id, *own.encode("the <_bot> the <_end>x"), end_id]
