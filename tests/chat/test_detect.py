"""Which format a checkpoint's own chat template is."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from telechat.chat.detect import format_of, known_format
from telechat.chat.formats import DEFAULT_SYSTEM, FORMATS
from telechat.chat.template import attach

ASKED = "{% for message in messages %}<_user>{{ message.content }}{% endfor %}"
OTHERS_WORDS = {
    "telechat2.5": ASKED + "<_bot>{# it never writes <think> #}",
    "t1": f"<_system>{DEFAULT_SYSTEM}\n{ASKED}<_bot><think>\n{{# end #}}",
    "telechat3": "<_system>" + ASKED + "<_bot><think>\n{# end #}",
    "telechat3-coder": "<_system>be brief" + ASKED + "<_bot><think>",
}
"""Templates of the same formats that say something else in front."""


@pytest.fixture
def blank(tokenizer) -> PreTrainedTokenizerFast:
    """The family's tokenizer without a template."""
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<_end>")


@pytest.mark.parametrize("name", FORMATS)
def test_the_template_tells_the_format(blank, name):
    attach(blank, FORMATS[name])
    assert known_format(blank).name == format_of(blank).name == name
    blank.chat_template += "{# as somebody else wrote it #}"
    assert format_of(blank).name == name


@pytest.mark.parametrize("name", FORMATS)
def test_a_template_in_other_words_counts_by_the_prompt_it_ends_in(blank, name):
    blank.chat_template = OTHERS_WORDS[name]
    assert known_format(blank).name == name


@pytest.mark.parametrize("template", [None, "{{ '<|im_start|>' }}", "{{ broken", {"default": "x"}])
def test_other_templates_are_none_of_the_familys_and_are_served_as_the_coders(blank, template):
    blank.chat_template = template
    assert known_format(blank) is None
    assert format_of(blank).name == "telechat3-coder"
