"""The exported templates say what the renderer says, byte for byte, and what the published formats say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_cases import (
    CLASSIC,
    CLOCK,
    CODER,
    T1,
    TELECHAT3,
    WEATHER,
    bot,
    by_jinja,
    byte_tokenizer,
    call,
    conversations,
    openai,
    result,
    system,
    user,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.utils.chat_template_utils import render_jinja_template

from telechat.chat.formats import FORMATS, Format
from telechat.chat.render import render_text
from telechat.chat.segments import segments
from telechat.chat.template import attach, chat_template, response_template
from telechat.core.errors import UserError
from telechat.core.types import Message

FORMAT_LIST = list(FORMATS.values())
S0 = (
    "你是中国电信星辰语义大模型，英文名是TeleChat，"
    "你是由中电信人工智能科技有限公司和中国电信人工智能研究院（TeleAI）研发的人工智能助手。"
)
TB = (
    "\n\n# 可用工具\n你可以调用<tools></tools>标签中包含的一个或多个工具来辅助你回答问题,以下是可用工具详情：\n<tools>\n"
    + json.dumps(WEATHER, ensure_ascii=False)
    + "\n"
    + json.dumps(CLOCK, ensure_ascii=False)
    + "\n</tools>\n\n# 调用方法\n你需要遵循工具的要求，使用json格式返回工具名称及参数，"
    "并用<tool_call></tool_call>包含。下方是一个调用模板：\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>\n\n'
)
CODER_TB = (
    "\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
    + json.dumps(WEATHER, ensure_ascii=False)
    + "\n</tools>\n\n"
    "For each function call, output the function name and arguments within the following XML format:\n"
    "<tool_call>{function-name}<param_key>{param-key-1}</param_key><param_value>{param-value-1}</param_value>"
    "<param_key>{param-key-2}</param_key><param_value>{param-value-2}</param_value>...</tool_call>"
)
TWO = bot("Looking.", "which?", call(city="北京", days=2), call(city="a\nb", options={"x": [1, None]}))
HISTORY = [user("q"), TWO, result("20"), result("30"), bot("Warm.", "so")]
JSON_CALLS = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京", "days": 2}}\n</tool_call>\n'
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "a\\nb", "options": {"x": [1, null]}}}\n</tool_call>'
)
XML_CALLS = (
    "<tool_call>get_weather<param_key>city</param_key><param_value>北京</param_value>"
    "<param_key>days</param_key><param_value>2</param_value></tool_call>"
    "<tool_call>get_weather<param_key>city</param_key><param_value>a\nb</param_value>"
    '<param_key>options</param_key><param_value>{"x": [1, null]}</param_value></tool_call>'
)
JSON_RESULTS = "<_user><tool_response>\n20\n</tool_response>\n<tool_response>\n30\n</tool_response>"
XML_RESULTS = "<_observation><tool_response>20</tool_response><tool_response>30</tool_response>"

PUBLISHED: list[tuple[str, Format, list[Message], dict[str, Any], str]] = [
    ("2.5: default system", CLASSIC, [user("hi")], {}, f"<_system>{S0}\n<_user>hi<_bot>"),
    ("2.5: own system", CLASSIC, [system("be brief"), user("hi")], {}, "<_system>be brief\n<_user>hi<_bot>"),
    ("2.5: tools", CLASSIC, [user("hi")], {"tools": [WEATHER, CLOCK]}, f"<_system>{S0}{TB}<_user>hi<_bot>"),
    (
        "2.5: calls and results",
        CLASSIC,
        [system("s"), *HISTORY],
        {"add_generation_prompt": False},
        f"<_system>s\n<_user>q<_bot>Looking.{JSON_CALLS}<_end>\n{JSON_RESULTS}<_bot>Warm.<_end>\n",
    ),
    ("T1 thinks", T1, [user("hi")], {}, f"<_system>{S0}\n<_user>hi<_bot><think>\n"),
    ("TeleChat3: no default system", TELECHAT3, [user("q")], {}, "<_system><_user>q<_bot><think>\n"),
    (
        "TeleChat3: an empty system message is one",
        TELECHAT3,
        [system(""), user("hi"), bot("answer")],
        {"add_generation_prompt": False},
        "<_system>\n<_user>hi<_bot>answer<_end>\n",
    ),
    (
        "TeleChat3: thinking in the content is dropped",
        TELECHAT3,
        [user("question"), bot("<think>\nplan\n</think>\nanswer")],
        {"add_generation_prompt": False},
        "<_system><_user>question<_bot>answer<_end>\n",
    ),
    (
        "TeleChat3: space in the content is kept",
        TELECHAT3,
        [user("q"), bot(" answer\n")],
        {"add_generation_prompt": False},
        "<_system><_user>q<_bot> answer\n<_end>\n",
    ),
    (
        "TeleChat3: tools without system",
        TELECHAT3,
        [user("q")],
        {"tools": [WEATHER, CLOCK]},
        f"<_system>{TB}<_user>q<_bot><think>\n",
    ),
    (
        "TeleChat3: calls and results",
        TELECHAT3,
        HISTORY,
        {},
        f"<_system><_user>q<_bot>Looking.{JSON_CALLS}<_end>\n{JSON_RESULTS}<_bot>Warm.<_end>\n<_bot><think>\n",
    ),
    ("Coder: generation prompt", CODER, [user("q")], {}, "<_system><_user>q<_bot><think>"),
    ("Coder: tools", CODER, [system("s"), user("q")], {"tools": [WEATHER]}, f"<_system>s{CODER_TB}<_user>q<_bot><think>"),
    (
        "Coder: an answer without thinking",
        CODER,
        [user("hi"), bot("answer")],
        {"add_generation_prompt": False},
        "<_system><_user>hi<_bot></think>answer<_end>",
    ),
    (
        "Coder: thinking is dropped before the last user message",
        CODER,
        [user("hi"), bot("<think>plan</think>answer"), user("again"), bot("done")],
        {"add_generation_prompt": False},
        "<_system><_user>hi<_bot></think>answer<_end><_user>again<_bot></think>done<_end>",
    ),
    (
        "Coder: thinking in the content is found",
        CODER,
        [user("question"), bot("<think>\nplan\n</think>\nanswer")],
        {"add_generation_prompt": False},
        "<_system><_user>question<_bot><think>\nplan\n</think>answer<_end>",
    ),
    (
        "Coder: empty thinking is none",
        CODER,
        [user("q"), bot("<think>\n\n</think>answer")],
        {"add_generation_prompt": False},
        "<_system><_user>q<_bot></think>answer<_end>",
    ),
    (
        "Coder: all thinking is kept on request",
        CODER,
        [user("q1"), bot("a1", "p1"), user("q2"), bot("a2", "p2")],
        {"add_generation_prompt": False, "clear_thinking": False},
        "<_system><_user>q1<_bot><think>\np1\n</think>a1<_end><_user>q2<_bot><think>\np2\n</think>a2<_end>",
    ),
    (
        "Coder: interleaved thinking, parallel calls, results",
        CODER,
        HISTORY,
        {},
        f"<_system><_user>q<_bot><think>\nwhich?\n</think>Looking.{XML_CALLS}<_end>{XML_RESULTS}"
        "<_bot><think>\nso\n</think>Warm.<_end><_bot><think>",
    ),
    (
        "Coder: a value that looks like markup stays as it is",
        CODER,
        [user("q"), bot(None, None, call(city="before</think>after"))],
        {"add_generation_prompt": False},
        "<_system><_user>q<_bot></think><tool_call>get_weather<param_key>city</param_key>"
        "<param_value>before</think>after</param_value></tool_call><_end>",
    ),
    (
        "Coder: content keeps its spaces where no thinking stands before it",
        CODER,
        [user("a"), bot(" x \n", "thought"), user("b"), bot(" y \n"), user("c"), bot(" z \n", "thought")],
        {"add_generation_prompt": False},
        "<_system><_user>a<_bot></think> x \n<_end><_user>b<_bot></think> y \n<_end>"
        "<_user>c<_bot><think>\nthought\n</think>z<_end>",
    ),
    ("2.5: an empty system message is the default", CLASSIC, [system(""), user("q")], {}, f"<_system>{S0}\n<_user>q<_bot>"),
    ("T1: an empty system message is the default", T1, [system(""), user("q")], {}, f"<_system>{S0}\n<_user>q<_bot><think>\n"),
]


def _jinja(fmt: Format, messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
    given = dict(options)
    return by_jinja(fmt, messages, given.pop("tools", ()), given.pop("add_generation_prompt", True), **given)


@pytest.mark.parametrize(
    ("fmt", "messages", "options", "expected"), [case[1:] for case in PUBLISHED], ids=[c[0] for c in PUBLISHED]
)
def test_the_published_formats(fmt: Format, messages: list[Message], options: dict[str, Any], expected: str) -> None:
    assert render_text(fmt, messages, **options) == expected
    assert _jinja(fmt, openai(messages), options) == expected
    assert _jinja(fmt, openai(messages, arguments_as_text=True), options) == expected


@pytest.mark.parametrize("fmt", FORMAT_LIST, ids=lambda f: f.name)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_conversation_reads_the_same_in_jinja(fmt: Format, data: st.DataObject) -> None:
    messages = data.draw(conversations())
    tools = data.draw(st.sampled_from([(), (WEATHER,), (WEATHER, CLOCK)]))
    options: dict[str, Any] = {"add_generation_prompt": data.draw(st.booleans()), "tools": tools}
    if data.draw(st.booleans()):
        options["clear_thinking"] = data.draw(st.booleans())
    expected = render_text(fmt, messages, **options)
    assert _jinja(fmt, openai(messages), options) == expected
    assert _jinja(fmt, openai(messages, arguments_as_text=True), options) == expected


@pytest.mark.parametrize("fmt", FORMAT_LIST, ids=lambda f: f.name)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_templates_mark_what_the_renderer_trains(fmt: Format, data: st.DataObject) -> None:
    messages = data.draw(conversations())
    [text], [spans] = render_jinja_template(
        [openai(messages)], chat_template=chat_template(fmt), return_assistant_tokens_mask=True, add_generation_prompt=False
    )
    parts = segments(fmt, messages, add_generation_prompt=False)
    trained = "".join(part.text if part.trained else "\0" * len(part.text) for part in parts)
    marked = ["\0"] * len(text)
    for start, end in spans:
        marked[start:end] = text[start:end]
    assert "".join(marked) == trained


@pytest.mark.parametrize("fmt", FORMAT_LIST, ids=lambda f: f.name)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_partial_answer_is_continued_as_transformers_does(fmt: Format, data: st.DataObject) -> None:
    text = data.draw(st.text(" \nab<>/", min_size=1, max_size=8).filter(lambda t: t.strip()))
    messages = [user("q"), bot(text, data.draw(st.sampled_from([None, "", " plan\n"])))]
    expected = by_jinja(fmt, openai(messages), prompt=False, continue_final_message=True)
    assert render_text(fmt, messages, continue_final_message=True) == expected
    assert not expected.endswith("<_end>")


def test_thinking_that_was_cut_is_continued() -> None:
    messages = [user("q"), Message("assistant", None, "first I\n")]
    expected = by_jinja(CODER, openai(messages), prompt=False, continue_final_message="reasoning_content")
    assert render_text(CODER, messages, continue_final_message=True) == expected == "<_system><_user>q<_bot><think>\nfirst I"
    with pytest.raises(UserError, match="no content to continue"):
        render_text(TELECHAT3, messages, continue_final_message=True)
    with pytest.raises(UserError, match="only an assistant message"):
        render_text(CODER, [user("q")], continue_final_message=True)


@pytest.mark.parametrize("fmt", FORMAT_LIST, ids=lambda f: f.name)
@pytest.mark.parametrize(
    "arguments",
    ["", " ", "{}", '{"a":1,"b" : [ ]}', '{"a": "x\\u4e2d\\ud83d\\ude00\\\\u0041\\"\\/"}', '{"n": [-0, 1E2, 1.50, true]}'],
)
def test_arguments_as_a_json_string_in_any_spelling(fmt: Format, arguments: str) -> None:
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    expected = render_text(fmt, [Message.from_dict(message)])
    assert by_jinja(fmt, [message]) == expected


@pytest.mark.parametrize("fmt", FORMAT_LIST, ids=lambda f: f.name)
def test_other_spellings_of_messages(fmt: Format) -> None:
    """Text parts, the developer role, `reasoning`, bare function calls, absent fields."""
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "reasoning": "plan", "tool_calls": [{"name": "f", "arguments": {"x": 1}}]},
        {"role": "tool", "content": None},
        {"role": "bot", "content": "so", "reasoning_content": "", "reasoning": "under the other name"},
    ]
    read = [Message.from_dict(m) for m in messages]
    assert (read[-1].role, read[-1].reasoning_content) == ("assistant", "under the other name")
    assert by_jinja(fmt, messages) == render_text(fmt, [Message.from_dict(m) for m in messages])


@pytest.mark.parametrize("fmt", FORMAT_LIST, ids=lambda f: f.name)
@pytest.mark.parametrize("messages", [[], [user("a"), system("late")]], ids=["empty", "late system message"])
def test_what_no_format_can_show_is_refused(fmt: Format, messages: list[Message]) -> None:
    with pytest.raises(UserError) as ours:
        render_text(fmt, messages)
    with pytest.raises(Exception, match="message") as theirs:
        by_jinja(fmt, openai(messages))
    assert str(ours.value) == str(theirs.value)


def test_attached_templates_survive_saving(tmp_path: Any) -> None:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer().backend_tokenizer)
    attach(tokenizer, CODER)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = again.apply_chat_template(openai(HISTORY), tools=[WEATHER], tokenize=False, add_generation_prompt=True)
    assert text == render_text(CODER, HISTORY, [WEATHER])
    assert again.response_template == response_template(CODER)


@pytest.mark.parametrize("fmt", FORMAT_LIST, ids=lambda f: f.name)
def test_transformers_reads_outputs_by_the_response_template(fmt: Format) -> None:
    from telechat.chat.segments import completion_segments

    tokenizer = byte_tokenizer()
    output = "".join(part.text for part in completion_segments(fmt, TWO) if part.trained)
    read = tokenizer.parse_response(output, response_template(fmt), prefix=render_text(fmt, [user("q")]))
    assert [c["function"]["name"] for c in read["tool_calls"]] == ["get_weather", "get_weather"]
    assert read["tool_calls"][0]["function"]["arguments"]["city"] == "北京"
    assert read["content"].strip() == "Looking."
    assert read.get("thinking", "which?").strip() == "which?"
