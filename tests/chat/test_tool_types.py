"""Argument values: typed by the tool's schema, at every depth."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telechat.chat.tool_types import MAX_TYPED, ToolTypes, ValueType
from telechat.chat.values import MAX_DEPTH, load_json

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
        ({"enum": ["a", "b"], "nullable": True}, "null", None),
        ({"type": ["string", "null"], "enum": ["a", "null"]}, "null", "null"),
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
        ({"items": STRING}, '["1", 2, true, null, 1.5, [3]]', ["1", "2", "true", None, "1.5", [3]]),
        ({"items": INT}, '["1", 2, 3.0, "x", true]', [1, 2, 3, "x", True]),
        ({"prefixItems": [STRING, INT], "items": {"type": "boolean"}}, '[1, "1", "true", "False"]', ["1", 1, True, False]),
        ({"items": [STRING, INT]}, '[1, "1", "true"]', ["1", 1, "true"]),
        ({"properties": {"a": STRING, "b": INT}}, '{"a": 1, "b": "2", "c": "3"}', {"a": "1", "b": 2, "c": "3"}),
        ({"additionalProperties": INT, "properties": {"a": STRING}}, '{"a": 1, "b": "2"}', {"a": "1", "b": 2}),
        ({"type": "array", "items": {"properties": {"a": NULLABLE}}}, '[{"a": 1}, {"a": null}]', [{"a": "1"}, {"a": None}]),
        ({"properties": {"a": {"enum": ["1", "2"]}}}, '{"a": 1}', {"a": "1"}),
        ({"properties": {"a": {"enum": [1, 2]}}}, '{"a": "1"}', {"a": 1}),
        ({"properties": {"a": {"enum": [1, 2]}}}, '{"a": "3"}', {"a": "3"}),
        ({"properties": {"a": {"anyOf": [INT, STRING]}}}, '{"a": "1"}', {"a": "1"}),
        ({"properties": {"a": {"items": INT}}}, '{"a": "[\\"1\\", 2]"}', {"a": [1, 2]}),
        ({"properties": {"a": STRING}}, '{"a": 1e999}', {"a": math.inf}),
        ({"anyOf": [{"properties": {"a": INT}}, {"items": INT}]}, '{"a": "1"}', {"a": 1}),
        ({"anyOf": [{"properties": {"a": INT}}, {"properties": {"a": STRING}}]}, '{"a": "1"}', {"a": "1"}),
        ({"allOf": [{"type": "object"}, {"properties": {"a": INT}}]}, '{"a": "1"}', {"a": 1}),
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
    read = ValueType(schema).convert(text)
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
    assert ValueType({}).convert(deepest) == json.loads(deepest)
    for text in (f"[{deepest}]", "[" * 200_000):
        assert ValueType({}).convert(text) == text


def test_a_schema_that_refers_to_itself_types_every_level() -> None:
    tree = {"properties": {"value": INT, "children": {"items": {"$ref": "#/$defs/tree"}}}}
    parameters = {"properties": {"root": {"$ref": "#/$defs/tree"}}, "$defs": {"tree": tree}}
    wanted = ToolTypes([{"name": "f", "parameters": parameters}]).of("f", "root")
    assert wanted.convert('{"value": "1", "children": [{"value": "2", "children": [{"value": "3"}]}]}') == {
        "value": 1,
        "children": [{"value": 2, "children": [{"value": 3}]}],
    }
    deep: Any = {"value": "1"}
    for _ in range(MAX_DEPTH // 2 - 1):
        deep = {"value": "1", "children": [deep]}
    read = wanted.convert(json.dumps(deep))
    types = []
    while read:
        types.append(type(read["value"]))
        read = (read.get("children") or [None])[0]
    assert types == [int] * (MAX_TYPED // 2) + [str] * (MAX_DEPTH // 2 - MAX_TYPED // 2)


def test_a_schema_with_many_ways_to_the_same_part_is_read_in_no_time() -> None:
    ways = {f"s{i}": {"allOf": [{"$ref": f"#/$defs/s{i + 1}"}] * 2} for i in range(30)}
    parameters = {"properties": {"a": {"$ref": "#/$defs/s0"}}, "$defs": {**ways, "s30": STRING}}
    assert ToolTypes([{"name": "f", "parameters": parameters}]).of("f", "a").convert("1") == "1"


@pytest.mark.parametrize(
    "parameters",
    [
        {"anyOf": [{"$ref": f"#{i}"} for i in range(20_000)]},
        {"anyOf": [{"$ref": "#/anyOf/" + "0" * i} for i in range(1, 1000)]},
        {"properties": {"a": {"$ref": "#/$defs/many"}}, "$defs": {"many": {"anyOf": [{"title": "t"} for _ in range(20_000)]}}},
        {"properties": {"a": {"$ref": "#/anyOf/" + "9" * 5000}}, "anyOf": [{}]},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
    ],
    ids=["names of the root", "spellings of an index", "many parts", "a long index", "a circle"],
)
def test_schemas_that_are_made_to_cost_time_cost_none(parameters: Any) -> None:
    begun = time.process_time()
    types = ToolTypes([{"name": "f", "parameters": parameters}])
    assert types.arguments("f").coerce({"a": 1}) == {"a": 1}
    assert types.of("f", "a").convert("1") == 1
    assert time.process_time() - begun < 1


def test_a_schema_nested_without_end_is_no_crash() -> None:
    schema: Any = STRING
    for _ in range(5000):
        schema = {"anyOf": [schema]}
    assert ValueType(schema).convert("1") == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(["1", "true", "[2]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
schemas = st.recursive(
    st.sampled_from([STRING, INT, NULLABLE, {}, {"type": "boolean"}, {"enum": ["1", 2]}, {"$ref": "#"}]),
    lambda inner: (
        st.fixed_dictionaries({"items": inner})
        | st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)})
        | st.fixed_dictionaries({"additionalProperties": inner})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)})
    ),
    max_leaves=6,
)


@given(schemas, json_values)
def test_a_typed_value_is_typed_once(schema: Any, value: Any) -> None:
    wanted = ValueType(schema)
    typed = wanted.coerce(value)
    assert wanted.coerce(typed) == typed
    assert wanted.coerce(load_json(json.dumps(value))) == typed
