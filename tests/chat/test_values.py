"""Argument values: typed by the tool's schema, and always JSON that everybody can read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telechat.chat.values import MAX_DEPTH, ToolTypes, dump_json, load_json, mend_surrogates, value_type

STRING, INT, NULLABLE = {"type": "string"}, {"type": "integer"}, {"type": ["string", "null"]}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (STRING, "123", "123"),
        (STRING, " null ", " null "),
        ({"type": "str"}, "123", "123"),
        (NULLABLE, "123", "123"),
        (NULLABLE, "true", "true"),
        (NULLABLE, "null", None),
        (NULLABLE, "nullable", "nullable"),
        ({"type": "string", "nullable": True}, "null", None),
        ({"anyOf": [STRING, {"type": "null"}]}, "5", "5"),
        ({"anyOf": [STRING, {"type": "null"}]}, "null", None),
        ({"anyOf": [STRING, INT]}, "5", 5),
        ({"anyOf": [STRING, INT]}, "5 ", 5),
        ({"anyOf": [STRING, INT]}, "5a", "5a"),
        ({"oneOf": [INT, {"type": "array"}]}, "[1]", [1]),
        ({"allOf": [{"type": ["string", "integer"]}, INT]}, "5", 5),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": ["a", 1, None]}, "1", 1),
        ({"enum": ["a", 1, None]}, "null", None),
        ({"enum": ["a", 1, None]}, "2", "2"),
        ({"enum": [True, 2]}, "1", "1"),
        ({"const": "5"}, "5", "5"),
        (INT, "5", 5),
        (INT, " 5\n", 5),
        (INT, "5.0", 5),
        (INT, "5.5", "5.5"),
        (INT, "five", "five"),
        (INT, "true", "true"),
        (INT, "", ""),
        (INT, "9" * 5000, "9" * 5000),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "number"}, "5", 5),
        ({"type": "float"}, "2.5", 2.5),
        ({"type": "number"}, "NaN", "NaN"),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "False", False),
        ({"type": "boolean"}, "1", "1"),
        ({"type": ["integer", "null"]}, "None", None),
        ({"type": "object"}, '{"a": "1", "b": [2]}', {"a": "1", "b": [2]}),
        ({"type": "object"}, "{1, 2}", "{1, 2}"),
        ({"type": "dict"}, "{}", {}),
        ({"type": "array"}, "(1, 2)", "(1, 2)"),
        ({"properties": {}}, '{"a": 1}', {"a": 1}),
        ({"items": STRING}, '["1"]', ["1"]),
        ({}, "5", 5),
        ({}, '"5"', '"5"'),
        ({}, "None", "None"),
        ({}, "NaN", "NaN"),
        (True, "null", None),
        (None, "text", "text"),
        ({"type": "no such type"}, "5", 5),
        ({"$ref": "#/nowhere"}, "5", 5),
    ],
)
def test_a_value_reads_as_its_schema_says(schema: Any, text: str, value: Any) -> None:
    read = value_type(schema).convert(text)
    assert (type(read), read) == (type(value), value)


def test_references_are_followed_also_in_circles() -> None:
    parameters = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/text"},
            "b": {"$ref": "#/$defs/loop"},
            "c": {"anyOf": [{"$ref": "#/definitions/a~1b"}, {"type": "null"}]},
            "d": {"$ref": "#/$defs/color"},
        },
        "additionalProperties": {"type": "string"},
        "$defs": {"text": STRING, "loop": {"$ref": "#/$defs/loop"}, "color": {"enum": ["1", "red"]}},
        "definitions": {"a/b": {"type": "string"}},
    }
    types = ToolTypes([{"type": "function", "function": {"name": "f", "parameters": parameters}}])
    assert [types.of("f", key).convert("1") for key in "abcde"] == ["1", 1, "1", "1", "1"]
    assert types.of("g", "a").convert("1") == 1


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": STRING}}}},
        {"type": "function", "name": "f", "parameters": {"properties": {"a": STRING}}},
        {"name": "f", "input_schema": {"properties": {"a": STRING}}},
    ],
    ids=["chat completions", "responses", "anthropic"],
)
def test_tools_are_read_in_every_common_form(tool: dict[str, Any]) -> None:
    types = ToolTypes([tool, "nonsense", {"type": "web_search"}])
    assert types.names == {"f"}
    assert types.of("f", "a").convert("1") == "1"


def test_tools_may_be_objects_of_a_server() -> None:
    class Tool:
        def model_dump(self) -> dict[str, Any]:
            return {"type": "function", "function": {"name": "f", "parameters": None}}

    assert ToolTypes([Tool()]).names == {"f"}


def test_deep_nesting_is_text_and_not_a_crash() -> None:
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert value_type({}).convert(deepest) == json.loads(deepest)
    for text in (f"[{deepest}]", "[" * 200_000):
        assert value_type({}).convert(text) == text


def test_numbers_beyond_floating_point_are_written_as_text() -> None:
    assert dump_json(load_json('{"a": [1e999, -1e999, NaN]}')) == '{"a": ["Infinity", "-Infinity", "NaN"]}'


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_mended_text_is_utf8_and_the_rest_of_it_is_the_same(text: str) -> None:
    mended = mend_surrogates(text)
    mended.encode()
    assert mended.replace("\ufffd", "") == "".join(c for c in mend_surrogates(text) if c != "\ufffd")
    assert text.isascii() <= (mended == text)


def test_surrogate_pairs_are_joined_and_lone_ones_replaced() -> None:
    assert mend_surrogates("\ud83d\ude00 \ud83d \ude00x") == "😀 \ufffd \ufffdx"
