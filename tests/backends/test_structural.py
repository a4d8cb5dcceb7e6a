"""The structural tag says the same as the grammar of the embedded engine."""

from __future__ import annotations

import re

import pytest

from telechat.backends.structural import call_tag
from telechat.chat.formats import get_format

CODER, CLASSIC = get_format("telechat3-coder"), get_format("telechat2.5")
STRING, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}


def tool(name: str, required: tuple[str, ...] = (), **properties: dict) -> dict:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def pattern(tag: dict) -> str:
    """A structural tag as a regular expression; JSON schemas stand for any JSON on one line."""
    match tag:
        case {"type": "structural_tag", "format": inner}:
            return pattern(inner)
        case {"type": "sequence", "elements": parts}:
            return "".join(map(pattern, parts))
        case {"type": "or", "elements": parts}:
            return f"({'|'.join(map(pattern, parts))})"
        case {"type": "optional", "content": inner}:
            return f"({pattern(inner)})?"
        case {"type": "const_string", "value": value}:
            return re.escape(value)
        case {"type": "any_text"}:
            return r"[\s\S]*?"
        case {"type": "json_schema"}:
            return r"-?[0-9{\[\"tfn].*?"
        case {"type": "tag", "begin": begin, "content": inner, "end": end}:
            return re.escape(begin) + pattern(inner) + re.escape(end)
        case {"type": "tags_with_separator", "tags": tags, "stop_after_first": once, "at_least_one": True, "separator": s}:
            one = f"({'|'.join(map(pattern, tags))})"
            return one if once else f"{one}({s}{one})*"
    raise AssertionError(tag)


def call(name: str, **values: str) -> str:
    inner = "".join(f"<param_key>{k}</param_key><param_value>{v}</param_value>" for k, v in values.items())
    return f"<tool_call>{name}{inner}</tool_call>"


TOOLS = [tool("edit", ("path",), path=STRING, line=NUMBER), tool("stop"), tool("pick", ("how",), how={"enum": ["a", "b", 3]})]


@pytest.mark.parametrize(
    ("options", "text", "allowed"),
    [
        ({}, call("edit", path="a\n b"), True),
        ({}, call("edit", path="a", line="7"), True),
        ({}, call("edit", line="7"), False),
        ({}, call("stop") + call("pick", how="3"), True),
        ({}, call("pick", how="c"), False),
        ({}, "no", False),
        ({}, "", False),
        ({"several": False}, call("stop") + call("stop"), False),
        ({"only": "pick"}, call("pick", how="b"), True),
        ({"only": "pick"}, call("stop"), False),
        ({"thinking": True}, "hm</think>" + call("stop"), True),
        ({"thinking": True}, call("stop"), False),
    ],
)
def test_what_may_be_said(options, text, allowed):
    assert (re.fullmatch(pattern(call_tag(CODER, TOOLS, **options)), text) is not None) == allowed


def test_a_free_answer_has_well_formed_calls():
    answer = call_tag(CODER, TOOLS, must_call=False)["format"]
    assert (answer["type"], answer["triggers"]) == ("triggered_tags", ["<tool_call>"])
    assert [tag["begin"] for tag in answer["tags"]] == ["<tool_call>edit", "<tool_call>stop", "<tool_call>pick"]


def test_a_clients_schema_gives_no_orders():
    tag = call_tag(CODER, [tool("f", ("a",), a={"type": "object", "x-guidance": {"lenient": True}})], only="f")
    assert "x-guidance" not in str(tag)


def json_call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("options", "text", "allowed"),
    [
        ({}, json_call("edit", '{"path": "a"}'), True),
        ({}, "\n" + json_call("edit", "{}") + "\n" + json_call("stop", "{}"), True),
        ({}, json_call("edit", "{}") + json_call("stop", "{}"), False),
        ({"several": False}, json_call("edit", "{}") + "\n" + json_call("stop", "{}"), False),
        ({"only": "pick"}, json_call("stop", "{}"), False),
        ({}, "no", False),
        ({"thinking": True}, "hm</think>\n" + json_call("stop", "{}"), True),
    ],
)
def test_what_may_be_said_in_json(options, text, allowed):
    assert (re.fullmatch(pattern(call_tag(CLASSIC, TOOLS, **options)), text) is not None) == allowed


def test_arguments_are_an_object_that_fits_the_schema():
    (tag,) = [t for t in call_tag(CLASSIC, TOOLS, must_call=False)["format"]["tags"] if "edit" in t["begin"]]
    assert tag["content"]["json_schema"] == {**TOOLS[0]["function"]["parameters"], "type": "object"}
