"""A format's calls as a structural tag, the form in which vLLM and SGLang hand a constraint to xgrammar.

The same language as `chat/grammar.py` writes for llguidance. TeleChat3-Coder's texts stand raw between their tags,
everything else is JSON.
Plain data: building one needs no library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from telechat.chat.formats import CALL, CALL_END, THINK_END, Format
from telechat.chat.grammar import VALUE_END, parameters_of, plain_schema
from telechat.chat.tool_types import ToolTypes


def call_tag(
    fmt: Format,
    tools: Sequence[Mapping[str, Any]],
    *,
    only: str | None = None,
    must_call: bool = True,
    several: bool = True,
    thinking: bool = False,
) -> dict[str, Any]:
    """What an answer in `fmt` may be: at least one call of `tools`, or exactly one of the tool `only`; without
    `must_call` any text, in which calls are well-formed. `thinking`: it stands before the answer and is free."""
    functions = [tool.get("function", tool) for tool in tools]
    types = ToolTypes(tools)
    chosen = [function for function in functions if only is None or function["name"] == only]
    tags = [_json_call(function) if fmt.calls == "json" else _xml_call(function, types) for function in chosen]
    between = "\n" if fmt.calls == "json" else ""
    answer: dict[str, Any]
    if not must_call:
        answer = {"type": "triggered_tags", "triggers": [CALL], "tags": tags, "stop_after_first": not several}
    elif only is not None:
        answer = tags[0]
    else:
        answer = {"type": "tags_with_separator", "tags": tags, "separator": between, "at_least_one": True}
        answer["stop_after_first"] = not several
    if between and must_call:  # what models of these formats may write behind their thinking
        answer = {"type": "sequence", "elements": [{"type": "optional", "content": _text(between)}, answer]}
    if thinking:
        answer = {"type": "sequence", "elements": [_tag("", {"type": "any_text"}, THINK_END), answer]}
    return {"type": "structural_tag", "format": answer}


def _tag(begin: str, content: Mapping[str, Any], end: str) -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": dict(content), "end": end}


def _text(value: str) -> dict[str, Any]:
    return {"type": "const_string", "value": value}


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    """JSON as models have read it: no room that they could fill with spaces for ever."""
    return {"type": "json_schema", "json_schema": schema, "max_whitespace_cnt": 1}


def _json_call(function: Mapping[str, Any]) -> dict[str, Any]:
    name = json.dumps(function["name"], ensure_ascii=False)
    schema = plain_schema({"type": "object", **parameters_of(function)})
    return _tag(f'{CALL}\n{{"name": {name}, "arguments": ', _json(schema), f"}}\n{CALL_END}")


def _xml_call(function: Mapping[str, Any], types: ToolTypes) -> dict[str, Any]:
    parameters = parameters_of(function)
    properties, named = parameters.get("properties"), parameters.get("required")
    required = named if isinstance(named, list) else ()
    values = []
    for key, schema in (properties if isinstance(properties, Mapping) else {}).items():
        value = _tag(
            f"<param_key>{key}</param_key><param_value>", _value(function["name"], key, schema, parameters, types), VALUE_END
        )
        values.append(value if key in required else {"type": "optional", "content": value})
    content: dict[str, Any] = {"type": "sequence", "elements": values} if values else _text("")
    return _tag(CALL + function["name"], content, CALL_END)


def _value(name: str, key: str, schema: Any, parameters: Mapping[str, Any], types: ToolTypes) -> dict[str, Any]:
    kind = types.of(name, key)
    if kind.choices is not None:
        spelled = dict.fromkeys(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in kind.choices)
        return {"type": "or", "elements": [_text(text) for text in spelled]}
    if kind.anything or "string" in (kind.types or ()):
        return {"type": "any_text"}
    shared = {word: parameters[word] for word in ("$defs", "definitions") if word in parameters}
    return _json(plain_schema({**schema, **shared}))
