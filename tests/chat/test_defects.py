"""The defects of the published tool and reasoning parsers, one test for each that concerns parsing and rendering.

The numbers are those of the list that this package keeps of them. Not here: 1 and 31 are about packaging and flags
(`tests/backends/test_launch.py`), 2 to 4, 13, 28 and 29 about vLLM's classes (`tests/plugins/test_vllm.py`).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_cases import CODER, WEATHER, bot, by_jinja, call, user

from telechat.chat.parser import Delta, Parsed, StreamParser, parse
from telechat.core.types import Message

SAY = "</think>"


def tool(name: str = "f", **properties: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


def markup(name: str = "f", **values: str) -> str:
    pairs = [f"<param_key>{k}</param_key><param_value>{v}</param_value>" for k, v in values.items()]
    return f"<tool_call>{name}{''.join(pairs)}</tool_call>"


def feed(*pieces: str, tools: Any = ()) -> tuple[list[list[Delta]], Parsed]:
    """The deltas of each piece and of the end, and the whole."""
    parser = StreamParser(CODER, tools)
    steps = [parser.feed(piece) for piece in pieces]
    return [*steps, parser.finish()], parser.parsed


def arguments(text: str, *tools: dict[str, Any]) -> dict[str, Any]:
    [made] = parse(CODER, SAY + text, tools).message.tool_calls
    return made.arguments


TEXT = {"type": "string"}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_05_thinking_in_history_is_read_under_both_names_and_in_every_message(name: str) -> None:
    turns: list[dict[str, Any]] = [
        {"role": "assistant", "content": "a", name: "p1"},
        {"role": "assistant", "content": "b", name: "p2"},
    ]
    text = by_jinja(CODER, [{"role": "user", "content": "q"}, *turns], prompt=False)
    assert text.endswith("<_bot><think>\np1\n</think>a<_end><_bot><think>\np2\n</think>b<_end>")
    assert Message.from_dict(turns[0]) == bot("a", "p1")


def test_06_history_needs_no_patch_of_the_server() -> None:
    messages = [user("q").to_dict(), bot("a", "plan").to_dict()]
    assert "<think>\nplan\n</think>a" in by_jinja(CODER, messages, prompt=False)


def test_07_arguments_are_streamed_as_they_arrive() -> None:
    steps, _ = feed(
        SAY + "<tool_call>f<param_key>code</param_key><param_value>", "def f():", "\n    return", tools=[tool(code=TEXT)]
    )
    assert [d.kind for d in steps[0]] == ["call", "arguments"]
    assert [d.text for d in steps[1]] == ["def f():"]
    assert [d.text for d in steps[2]] == ["\\n    return"]


def test_08_a_tag_that_is_split_is_still_a_tag() -> None:
    steps, parsed = feed(SAY + "ok<tool", "_call>f</tool", "_call>")
    assert [d.text for d in steps[0]] == ["ok"]
    assert parsed.message == bot("ok", None, call("f"))


def test_09_several_calls_in_one_piece_all_come_at_once() -> None:
    steps, _ = feed(SAY + markup("f") + markup("g") + markup("h"))
    assert [d.text for d in steps[0] if d.kind == "call"] == ["f", "g", "h"]


def test_10_a_stray_end_tag_swallows_nothing() -> None:
    _, parsed = feed(SAY + "one </tool_call>", " two ", markup("f"), " three")
    assert parsed.message == bot("one </tool_call> twothree", None, call("f"))


def test_11_a_call_without_an_end_is_shown_with_what_there_is() -> None:
    steps, parsed = feed(SAY + "<tool_call>f<param_key>a</param_key><param_value>hel", tools=[tool(a=TEXT)])
    assert parsed == Parsed(bot(None, None, call("f", a="hel")), True, ("call 0 (f) is not complete",))
    assert json.loads("".join(d.text for step in steps for d in step if d.kind == "arguments")) == {"a": "hel"}


def test_12_there_are_no_empty_deltas() -> None:
    steps, _ = feed(*(SAY + "a " + markup("f", a="x") + " "))
    assert all(delta.text for step in steps for delta in step)
    assert [] in steps


def test_14_every_output_has_a_parser_of_its_own() -> None:
    feed(SAY + "<tool_call>f<param_key>a</param_key><param_value>never ends")
    _, parsed = feed(SAY + "hello")
    assert parsed.message == bot("hello")


def test_15_content_is_none_when_there_is_none() -> None:
    assert parse(CODER, SAY + "\n" + markup("f") + "\n").message.content is None


def test_16_text_around_calls_is_kept() -> None:
    assert parse(CODER, SAY + "a " + markup("f") + "\nb\n" + markup("g") + " c").message.content == "abc"


def test_17_a_call_in_the_thinking_is_thinking() -> None:
    message = parse(CODER, "I could " + markup("f") + SAY + "no").message
    assert message == bot("no", "I could " + markup("f"))


@pytest.mark.parametrize(
    "value", ["see </param_value> here", "a</tool_call>b", "x</param_value>\n\ny</tool_call>", "<tool_call>", "</param_key>"]
)
def test_18_values_may_hold_tags(value: str) -> None:
    assert arguments(markup("f", a=value, b="end"), tool(a=TEXT, b=TEXT)) == {"a": value, "b": "end"}


@pytest.mark.parametrize("end", ["", "</tool_call>", "</param_value>", "</tool_call>\n"])
def test_19_a_call_that_breaks_off_does_not_swallow_the_next_one(end: str) -> None:
    text = SAY + "<tool_call>f<param_key>a</param_key><param_value>1" + end + markup("g", b="2")
    parsed = parse(CODER, text, [tool("f", a=TEXT), tool("g", b=TEXT)])
    assert parsed.message.tool_calls == (call("f", a="1"), call("g", b="2"))
    assert parsed.truncated


def test_20_strings_keep_every_space_and_line_break() -> None:
    code = "\n    def f():\n\treturn 1  \n\n"
    assert arguments(markup("f", code=code), tool(code=TEXT)) == {"code": code}
    assert arguments(markup("f", code=code)) == {"code": code}


def test_21_a_written_backslash_n_is_no_space() -> None:
    text = "<tool_call>f<param_key>a</param_key>\\n<param_value>1</param_value></tool_call>"
    parsed = parse(CODER, SAY + text)
    assert parsed.message.tool_calls == (call("f"),)
    assert parsed.message.content == text.removeprefix("<tool_call>f")
    assert arguments(text.replace("\\n", "\n")) == {"a": 1}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"anyOf": [TEXT, {"type": "null"}]},
        {"enum": ["123", "true"]},
        {"$ref": "#/$defs/T"},
        {"type": "string", "nullable": True},
        {"allOf": [{"$ref": "#/$defs/T"}]},
    ],
    ids=str,
)
@pytest.mark.parametrize("value", ["123", "true"])
def test_22_text_is_text_however_the_schema_says_so(schema: dict[str, Any], value: str) -> None:
    described = tool(a=schema)
    described["function"]["parameters"]["$defs"] = {"T": TEXT}
    assert arguments(markup("f", a=value), described) == {"a": value}


def test_23_the_type_is_looked_up_by_the_name_without_space() -> None:
    assert arguments(markup(" f ", **{" a\n": "123"}), tool(a=TEXT)) == {"a": "123"}


@pytest.mark.parametrize("value", ["(1, 2)", "{1, 2}", "None", "{'a': 1}", "1_000", "0x10"])
@pytest.mark.parametrize("schema", [True, False, {}, {"type": "object"}, None])
def test_24_values_are_json_and_not_python(value: str, schema: Any) -> None:
    assert arguments(markup("f", a=value), tool(a=schema)) == {"a": value}


@pytest.mark.parametrize(
    "value", ["NaN", "[NaN, Infinity]", '{"a": -Infinity}', "1e999", "[1e999]", '"\\ud800"', '["\\ud800"]', "\ud800"]
)
def test_25_the_arguments_are_always_valid_json(value: str) -> None:
    steps, _ = feed(SAY + markup("f", a=value))
    text = "".join(d.text for d in steps[0] if d.kind == "arguments")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(text.encode("utf-8"), parse_constant=refuse)


@pytest.mark.parametrize("name", ["", "  ", "two words", '{"name": "f"}', "a(b)", 'say "hi"'])
def test_26_what_cannot_be_a_name_makes_no_call(name: str) -> None:
    parsed = parse(CODER, SAY + markup(name))
    assert parsed.message == bot(markup(name))


def test_26_a_tool_that_does_not_exist_is_reported() -> None:
    parsed = parse(CODER, SAY + markup("g"), [tool("f")])
    assert parsed.message.tool_calls == (call("g"),)
    assert parsed.problems == ("there is no tool 'g'",)


def test_27_tools_of_the_responses_api_are_understood() -> None:
    responses_tool = {"type": "function", **WEATHER["function"]}
    text = markup("get_weather", city="5", days="5")
    assert arguments(text, responses_tool) == {"city": "5", "days": 5}


def test_30_a_call_without_arguments_is_a_call() -> None:
    assert arguments(markup("f")) == {}
    assert arguments("<tool_call>\nf\n</tool_call>") == {}
