"""The parser: what outputs mean, and that neither cutting nor garbage changes or loses anything."""

from __future__ import annotations

import gc
import json
import re
import time
from itertools import pairwise
from typing import Any

import pytest
from chat_cases import CLASSIC, CLOCK, CODER, T1, TELECHAT3, WEATHER, bot, call, calls, plain
from hypothesis import given, settings
from hypothesis import strategies as st

from telechat.bench.parser import measure_parser
from telechat.chat.formats import FORMATS, Format
from telechat.chat.parser import Delta, Parsed, StreamParser, parse
from telechat.chat.segments import completion_segments
from telechat.chat.tool_types import ToolTypes
from telechat.core.types import Message

TOOLS = [WEATHER, CLOCK]
XML_PIECES = ["<tool_call>", "</tool_call>", "<param_key>", "</param_key>", "<param_value>", "</param_value>", "get_weather"]
XML_PIECES += ["city", "days", "options", "null", '{"a": [1, NaN]}', "<tool", "<tool_call>get_weather<param_key>"]
JSON_PIECES = ["<tool_call>\n", "</tool_call>", '{"name": "get_weather", "arguments": ', '"name": "查询时间"', '"arguments": ']
JSON_PIECES += [
    '{"a": 1',
    "}",
    "{",
    "[",
    "]",
    ",",
    ": ",
    '"',
    "\\",
    "\\u12",
    "\\ud83d",
    "\\ude00",
    "NaN",
    "1e999",
    "-1.5",
    "\\q",
]
COMMON = ["</think>", "<think>", "<_end>", "<_user>", "<", " ", "\n", "\ud83d", "\ude00", "中", "x", '"{\\"a\\": 1}"', "true"]


def stream(fmt: Format, pieces: list[str], tools: Any = TOOLS) -> tuple[Parsed, list[Delta]]:
    parser = StreamParser(fmt, tools)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    deltas += parser.finish()
    return parser.parsed, deltas


def joined(deltas: list[Delta]) -> Message:
    """The message that a client of the stream puts together."""
    text = {kind: "".join(d.text for d in deltas if d.kind == kind) or None for kind in ("content", "reasoning_content")}
    made = []
    for i, start in enumerate(d for d in deltas if d.kind == "call"):
        arguments = json.loads("".join(d.text for d in deltas if d.kind == "arguments" and d.call == i))
        made.append(call(start.text, **arguments))
    return bot(text["content"], text["reasoning_content"], *made)


@st.composite
def outputs(draw: st.DrawFn) -> tuple[Format, str]:
    """Outputs between well-formed and garbage."""
    fmt = draw(st.sampled_from(list(FORMATS.values())))
    pieces = (XML_PIECES if fmt.calls == "xml" else JSON_PIECES) + COMMON
    body = "".join(draw(st.lists(st.sampled_from(pieces), max_size=20)))
    inside = "get_weather<param_key>city</param_key><param_value>" if fmt.calls == "xml" else JSON_PIECES[2] + '{"a": "'
    return fmt, draw(st.sampled_from(["", "</think>", "</think><tool_call>" + inside])) + body


@settings(deadline=None, max_examples=300)
@given(data=st.data(), output=outputs())
def test_any_output_cut_in_any_way_gives_the_same_message(data: st.DataObject, output: tuple[Format, str]) -> None:
    fmt, text = output
    whole = parse(fmt, text, TOOLS)
    json.dumps([c.arguments for c in whole.message.tool_calls], allow_nan=False, ensure_ascii=False).encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    for edges in ([0, *cuts, len(text)], list(range(len(text) + 1))):
        parsed, deltas = stream(fmt, [text[i:j] for i, j in pairwise(edges)])
        assert parsed == whole
        assert joined(deltas) == whole.message
        assert all(delta.text for delta in deltas)


NESTED = {
    "properties": {
        "a": {"type": "string"},
        "b": {"type": "integer"},
        "c": {"type": "array", "items": {"$ref": "#/$defs/part"}},
        "d": {"$ref": "#/$defs/part"},
        "e": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "f": {"type": ["string", "null"]},
    },
    "$defs": {"part": {"additionalProperties": {"type": "string"}, "properties": {"n": {"type": "number"}}}},
}
MAKE = [{"name": "make", "parameters": NESTED}]


@st.composite
def nested_calls(draw: st.DrawFn) -> tuple[Format, dict[str, Any], str]:
    """Calls of a tool with nested types whose values often have another one, as a model would write them."""
    scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
    scalars |= st.sampled_from(["1", "-2.50", "true", "null", '[{"n": "1"}]', 1.5, 2.0, "<", "</param_value>", '"', "\\"])
    inner = st.recursive(
        scalars,
        lambda items: st.lists(items, max_size=3) | st.dictionaries(st.sampled_from("anx"), items, max_size=3),
        max_leaves=6,
    )
    arguments = draw(st.dictionaries(st.sampled_from("abcdef"), inner, max_size=6))
    fmt = draw(st.sampled_from([CODER, CLASSIC]))
    if fmt is CODER:
        pairs = [(k, v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)) for k, v in arguments.items()]
        body = "".join(f"<param_key>{k}</param_key><param_value>{v}</param_value>" for k, v in pairs)
        return fmt, arguments, f"</think><tool_call>make{body}</tool_call>"
    separators = draw(st.sampled_from([None, (",", ":"), (" ,", "\n:  ")]))
    written = json.dumps(arguments, ensure_ascii=draw(st.booleans()), separators=separators)
    parts = [f'"arguments": {written}', '"name": "make"']
    return fmt, arguments, "<tool_call>{" + ",".join(draw(st.permutations(parts))) + "}</tool_call>"


@settings(deadline=None, max_examples=300)
@given(data=st.data(), made=nested_calls())
def test_nested_types_are_the_same_however_the_call_is_cut(data: st.DataObject, made: Any) -> None:
    fmt, arguments, text = made
    end = data.draw(st.sampled_from([len(text), len(text), data.draw(st.integers(0, len(text)))]))
    whole = parse(fmt, text[:end], MAKE)
    for size in (1, 2, 5):
        parsed, deltas = stream(fmt, [text[i : min(i + size, end)] for i in range(0, end, size)], MAKE)
        assert parsed == whole
        assert joined(deltas) == whole.message
    if fmt is CLASSIC and end == len(text):
        assert whole.message.tool_calls == (call("make", **ToolTypes(MAKE).arguments("make").coerce(arguments)),)


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_values_inside_arguments_are_typed_too(size: int) -> None:
    xml = (
        "</think><tool_call>make<param_key>a</param_key><param_value>1</param_value>"
        '<param_key>c</param_key><param_value>[{"id": 7, "n": "2.5"}, {"id": true}]</param_value></tool_call>'
    )
    spoken = '<tool_call>\n{"name": "make", "arguments": {"a": 1, "c": [{"id": 7, "n": "2.5"}, {"id": true}]}}\n</tool_call>'
    for fmt, text in ((CODER, xml), (CLASSIC, spoken)):
        parsed, deltas = stream(fmt, [text[i : i + size] for i in range(0, len(text), size)], MAKE)
        assert parsed.message == bot(None, None, call("make", a="1", c=[{"id": "7", "n": 2.5}, {"id": "true"}]))
        assert joined(deltas) == parsed.message


def test_long_text_of_a_json_call_streams_whether_types_are_known_or_not() -> None:
    text = '<tool_call>{"name": "make", "arguments": {"d": {"x": "a long \\"text\\", and\\nmore'
    parsed, deltas = stream(CLASSIC, list(text), MAKE)
    shown = "".join(d.text for d in deltas[:-1] if d.kind == "arguments")
    assert shown == '{"d": {"x": "a long \\"text\\", and\\nmore'
    assert parsed.truncated


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
@settings(deadline=None, max_examples=80)
@given(content=plain, thinking=st.none() | plain, made=st.lists(calls, max_size=3), cut=st.integers(1, 9))
def test_a_message_as_the_model_writes_it_parses_back(
    fmt: Format, content: str, thinking: str | None, made: Any, cut: int
) -> None:
    thinking = (thinking or "").strip() or None if fmt.thinks else None
    # the formats themselves drop space around content: Coder all of it, thinking formats the line breaks in front
    content = content.strip() if fmt.calls == "xml" or made else content.lstrip("\n") if fmt.thinks else content
    text = "".join(part.text for part in completion_segments(fmt, bot(content, thinking, *made)) if part.trained)
    schema = [{"name": c.name, "parameters": {"properties": {k: _schema(v) for k, v in c.arguments.items()}}} for c in made]
    names = [c.name for c in made]
    tools = schema if len(set(names)) == len(names) else []
    parsed, _ = stream(fmt, [text[i : i + cut] for i in range(0, len(text), cut)], tools)
    if tools or fmt.calls == "json" or not made:
        assert parsed == Parsed(bot(content or None, thinking, *made), False)
    assert [c.name for c in parsed.message.tool_calls] == names


def _schema(value: Any) -> dict[str, str]:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object", type(None): "null"}
    return {"type": names[type(value)]}


RICH = {
    "telechat3-coder": "\nfirst w0\n</think>says w1 "
    "<tool_call>get_weather<param_key>city</param_key><param_value>w2 </param_value>"
    "<param_key>w3</param_key><param_value>[w4</param_value><param_key>options</param_key><param_value>w5</param_value></tool_call>"
    " w6\n<tool_call>w7</tool_call> w8",
    "telechat3": "first w0\n</think>\nsays w1 "
    '<tool_call>\n{"name": "w2", "arguments": {"w3": "w4 \\n", "x": ["w5", {"w6": 1}]}}\n'
    "</tool_call> w7</tool_call> w8",
}


@pytest.mark.parametrize("name", RICH)
def test_an_output_cut_anywhere_keeps_every_word(name: str) -> None:
    text = RICH[name]
    for end in range(len(text) + 1):
        message = parse(FORMATS[name], text[:end], [WEATHER]).message
        shown = json.dumps(
            [message.to_dict()["content"], message.reasoning_content, *(c.to_openai() for c in message.tool_calls)]
        )
        for word in re.findall(r"w\d", text[:end]):
            assert word in shown, (text[:end], shown)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([*XML_PIECES, "</think>", "<", " ", "w1", "w2", "w3", "w4", "w5", "w6", "w7"]), max_size=25))
def test_garbage_keeps_every_word(pieces: list[str]) -> None:
    text = "".join(pieces)
    message = parse(CODER, text, TOOLS).message
    shown = json.dumps([message.content, message.reasoning_content, *(c.to_openai() for c in message.tool_calls)])
    repeated = re.findall(r"w\d", text)
    assert all(word in shown for word in repeated)


@pytest.mark.parametrize(
    ("output", "truncated"),
    [
        ("", True),
        ("plan", True),
        ("plan</thi", True),
        ("plan</think>", False),
        ("plan</think>answer", False),
        ("plan</think>answer<tool_c", False),
        ("plan</think><tool_call>", True),
        ("plan</think><tool_call>get_wea", True),
        ("plan</think>a <tool_call> is a tag", False),
        ("plan</think><tool_call>get_weather<param_key>city</param_key><param_value>x", True),
        ("plan</think><tool_call>get_weather<param_key>city</param_key><param_value>x</param_value>", True),
        ("plan</think><tool_call>get_weather<param_key>city</param_key><param_value>x</param_value></tool_call>", False),
        ("plan<_end>", True),
        ("plan</think>answer<_end>", False),
        ("plan</think><tool_call>get_weather<param_key>city<_end>", True),
    ],
)
def test_truncation_is_seen(output: str, truncated: bool) -> None:
    assert parse(CODER, output, TOOLS).truncated is truncated


def test_every_cut_inside_a_json_call_is_seen() -> None:
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "</tool_call>"}}\n</tool_call>'
    start = len("<tool_call>")
    assert all(parse(CLASSIC, text[:end], TOOLS).truncated for end in range(start, len(text)))
    assert not parse(CLASSIC, text, TOOLS).truncated


@pytest.mark.parametrize("word", ["<_end>", "<_user>", "<_bot>", "<_system>", "<_observation>"])
@pytest.mark.parametrize("before", ["think", "a</think>b", "</think><tool_call>get_weather</tool_call>"])
def test_a_turn_ends_at_a_control_word(word: str, before: str) -> None:
    parsed, deltas = stream(CODER, [before, word[:3], word[3:] + "never seen", "nor this"])
    assert parsed == parse(CODER, before, TOOLS)
    assert "n" not in "".join(d.text for d in deltas if d.kind == "content")


def test_a_caller_that_stops_at_tokens_may_let_control_words_be_text() -> None:
    parser = StreamParser(CODER, stops=())
    parser.feed("</think>write <_end> here")
    parser.finish()
    assert parser.parsed.message.content == "write <_end> here"


@pytest.mark.parametrize(
    ("fmt", "output", "thinking", "content"),
    [
        (CODER, "\nplan\n</think>answer", "plan", "answer"),
        (CODER, "</think>answer", None, "answer"),
        (CODER, "\n\n</think>\n\nanswer\n", None, "answer\n"),
        (CODER, "<think>\nplan</think> answer", "plan", " answer"),
        (TELECHAT3, "plan\n</think>\nanswer", "plan", "answer"),
        (T1, "plan\n\n more\n</think>\nanswer", "plan\n\n more", "answer"),
        (CLASSIC, " answer </think> x", None, " answer </think> x"),
        (CLASSIC, "\n<think>plan</think>answer", "plan", "answer"),
        (CLASSIC, "the tag <think> is text", None, "the tag <think> is text"),
        (CODER, "a</think>b</think>c<think>d", "a", "b</think>c<think>d"),
        (CLASSIC, "\n", None, "\n"),
        (CLASSIC, "", None, None),
    ],
)
def test_thinking_and_content(fmt: Format, output: str, thinking: str | None, content: str | None) -> None:
    message = parse(fmt, output).message
    assert (message.reasoning_content, message.content) == (thinking, content)


def test_where_thinking_begins_can_be_said() -> None:
    assert parse(CODER, "answer", in_thinking=False).message == bot("answer")
    assert parse(CLASSIC, "plan</think>answer", in_thinking=True).message == bot("answer", "plan")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"city": "a", "days": 2}', {"city": "a", "days": 2}),
        ('{"city": "a\nb\\u4e2d\\ud83d\\ude00\\"\\q"}', {"city": 'a\nb中😀"\\q'}),
        ('{"x": [1, 2.50, -0, 1E2, true, null, {}, []],}', {"x": [1, 2.5, 0, 100.0, True, None, {}, []]}),
        ('{"x": NaN, "y": 1e999}', {"x": "NaN", "y": "Infinity"}),
        ('"{\\"city\\": \\"a\\"}"', {"city": "a"}),
        ("null", {}),
        ("[1]", {"arguments": [1]}),
        ('{"x": [True, None, abc]}', {"x": ["True", "None", "abc"]}),
        ('"no json"', {"arguments": "no json"}),
        ('{"x": "\\ud83d"}', {"x": "\ufffd"}),
        ('{"a": "</tool_call><tool_call>", "b": 1}', {"a": "</tool_call><tool_call>", "b": 1}),
    ],
)
@pytest.mark.parametrize(
    "order", ['{"name": "f", "arguments": %s}', '{"arguments": %s, "name": "f"}', '{ "name" :"f","parameters":%s }']
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_json_calls(arguments: str, expected: dict[str, Any], order: str, size: int) -> None:
    text = f"ok<tool_call>\n{order % arguments}\n</tool_call>\n<_end>"
    parsed, deltas = stream(TELECHAT3, ["</think>", *(text[i : i + size] for i in range(0, len(text), size))], [])
    assert parsed.message == bot("ok", None, call("f", **expected))
    assert not parsed.truncated
    assert joined(deltas) == parsed.message


@pytest.mark.parametrize(
    "body",
    ["", "no json", "[1]", '{"x": 1}', '{"name": 5}', '{"name": "a b"}', '{"name" "f"}', '{"name": "' + "f" * 2000 + '"}'],
)
def test_what_is_no_json_call_is_content(body: str) -> None:
    text = f"<tool_call>{body}</tool_call>"
    for size in (1, 1000):
        parsed, _ = stream(CLASSIC, [text[i : i + size] for i in range(0, len(text), size)])
        assert parsed.message == bot(text)


def test_a_json_call_that_goes_wrong_keeps_its_beginning() -> None:
    parsed = parse(CLASSIC, '<tool_call>{"name": "f", "arguments": {"a": 1, b}}</tool_call>rest')
    assert parsed.message == bot("b}}</tool_call>rest", None, call("f", a=1))
    assert parsed.truncated
    assert parsed.problems == ("call 0 (f) is not complete",)


def test_a_json_call_inside_an_open_one_is_read() -> None:
    text = '<tool_call>{"name": "f", "arguments": {"a": "x<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    for size in (1, 1000):
        parsed, _ = stream(CLASSIC, [text[i : i + size] for i in range(0, len(text), size)], [])
        assert parsed.message == bot(None, None, call("f", a="x"), call("g"))
        assert parsed.truncated


def test_two_json_calls_without_an_end_between_them() -> None:
    text = '<tool_call>{"name": "f"}<tool_call>{"name": "g", "id": 7}</tool_call>'
    parsed = parse(CLASSIC, text)
    assert parsed.message.tool_calls == (call("f"), call("g"))
    assert parsed.problems == ("key 'id' of a call is not used",)


def test_forgotten_key_ends_and_space_between_tags_are_forgiven() -> None:
    text = (
        "</think><tool_call> get_weather \n<param_key> city<param_value>x</param_value>\n"
        " <param_key>days</param_key>\n<param_value>2</param_value>\n</tool_call>"
    )
    assert parse(CODER, text, TOOLS).message == bot(None, None, call(city="x", days=2))


def test_openai_deltas_make_the_openai_message() -> None:
    text = "plan</think>ok<tool_call>get_weather<param_key>city</param_key><param_value>x y</param_value></tool_call>"
    parsed, deltas = stream(CODER, [text[i : i + 4] for i in range(0, len(text), 4)])
    wire = [delta.to_openai() for delta in deltas]
    assert wire[0] == {"reasoning_content": "plan"}
    first = next(d for d in wire if "tool_calls" in d)["tool_calls"][0]
    assert first == {"index": 0, "id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    arguments = "".join(d["tool_calls"][0]["function"]["arguments"] for d in wire if "tool_calls" in d)
    made = parsed.to_openai()
    assert made["tool_calls"][0]["function"]["arguments"] == arguments == '{"city": "x y"}'
    assert (made["content"], made["reasoning_content"]) == ("ok", "plan")


@pytest.mark.parametrize(
    ("fmt", "pieces"),
    [
        (CODER, ["</think><tool_call>get", "<_end>"]),
        (CODER, ["</think><tool_call>get_weather<param_key>ci", "<_end>"]),
        (CLASSIC, ['<tool_call>{"na', "<_end>"]),
        (CLASSIC, ['<tool_call>{"name": "f", "ar', "<_end>"]),
    ],
)
def test_the_end_of_a_turn_is_known_at_once(fmt: Format, pieces: list[str]) -> None:
    parser = StreamParser(fmt)
    for piece in pieces:
        assert not parser.ended
        parser.feed(piece)
    assert parser.ended


def test_a_finished_parser_reads_nothing_more() -> None:
    parser = StreamParser(CODER)
    parser.feed("</think>a")
    parser.finish()
    assert parser.feed("b") == [] == parser.finish()
    assert parser.ended
    assert parser.parsed.message.content == "a"


@pytest.mark.parametrize(
    "text",
    [
        "</think>" + "a <b> " * 50_000,
        "</think><tool_call>get_weather<param_key>city</param_key><param_value>" + "x </param_value> y" * 20_000,
        "</think><tool_call>get_weather<param_key>city</param_key><param_value>" + "<tool_call>" * 20_000,
        "</think>" + "<tool_call>" * 20_000,
        "</think><tool_call>get_weather<param_key>options</param_key><param_value>" + "[1, 2], " * 40_000,
        "</think><tool_call>" + "n" * 200_000,
        "</think>a" + " " * 200_000,
        "</think><tool_call>get_weather</tool_call>" + " " * 200_000,
        "\\" * 200_000,
    ],
    ids=["tags", "ends", "calls", "no calls", "arrays", "name", "space", "space behind a call", "backslashes"],
)
def test_long_outputs_take_time_in_proportion(text: str) -> None:
    _check_time(CODER, text)


@pytest.mark.parametrize(
    "text",
    [
        '"' + "x\\n<" * 50_000,
        "[" + "1, " * 60_000,
        " " * 200_000,
        '"' + "\\\\" * 80_000,
        '"' + "<tool_call>\n{" * 20_000,
        "1" * 90_000,
    ],
    ids=["text", "numbers", "space", "backslashes", "calls", "digits"],
)
def test_long_json_calls_take_time_in_proportion(text: str) -> None:
    _check_time(CLASSIC, '<tool_call>{"name": "f", "arguments": {"a": ' + text)


def _check_time(fmt: Format, text: str) -> None:
    def seconds(part: str) -> float:
        gc.disable()  # a collection walks whatever other tests have left in memory
        try:
            begun = time.process_time()
            stream(fmt, [part[i : i + 3] for i in range(0, len(part), 3)])
            return time.process_time() - begun
        finally:
            gc.enable()

    # eight times the text: a parser that looks at everything again with every piece would take 64 times as long
    assert seconds(text) < 24 * seconds(text[: len(text) // 8]) + 0.2


def test_the_parser_can_be_measured_beside_the_one_in_transformers() -> None:
    rows = measure_parser(2000, repeats=1, beside=True)
    assert len(rows) == 5
    assert all(row["mb_per_s"] > 0 and row["transformers_us_per_delta"] > 0 for row in rows)
