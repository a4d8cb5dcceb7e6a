"""TeleChat3-Coder's calls as a structural tag, the form in which vLLM and SGLang hand a constraint to xgrammar.

The same language as `chat/grammar.py` writes for llguidance: texts stand raw between their tags, everything else is JSON.
Plain data: building one needs no library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from telechat.chat.formats import CALL, CALL_END, THINK_END
from telechat.chat.grammar import VALUE_END, plain_schema
from telechat.chat.tool_types import ToolTypes


def coder_tag(
    tools: Sequence[Mapping[str, Any]],
    *,
    only: str | None = None,
    must_call: bool = True,
    several: bool = True,
    thinking: bool = False,
) -> dict[str, Any]:
    """What an answer may be: at least one call of `tools`, or exactly one of the tool `only`; without `must_call` any
    text, in which calls are well-formed. `thinking`: it stands before the answer and is free."""
    functions = [tool.get("function", tool) for tool in tools]
    types = ToolTypes(tools)
    tags = [_call(function, types) for function in functions if only is None or function["name"] == only]
    answer: dict[str, Any]
    if not must_call:
        answer = {"type": "triggered_tags", "triggers": [CALL], "tags": tags, "stop_after_first": not several}
    elif only is not None:
        answer = tags[0]
    else:
        answer = {"type": "tags_with_separator", "tags": tags, "separator": "", "at_least_one": True}
        answer["stop_after_first"] = not several
    if thinking:
        answer = {"type": "sequence", "elements": [_tag("", {"type": "any_text"}, THINK_END), answer]}
    return {"type": "structural_tag", "format": answer}


def _tag(begin: str, content: Mapping[str, Any], end: str) -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": dict(content), "end": end}


def _call(function: Mapping[str, Any], types: ToolTypes) -> dict[str, Any]:
    given = function.get("parameters") or function.get("input_schema")
    parameters: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    properties, named = parameters.get("properties"), parameters.get("required")
    required = named if isinstance(named, list) else ()
    values = []
    for key, schema in (properties if isinstance(properties, Mapping) else {}).items():
        value = _tag(
            f"<param_key>{key}</param_key><param_value>", _value(function["name"], key, schema, parameters, types), VALUE_END
        )
        values.append(value if key in required else {"type": "optional", "content": value})
    content: dict[str, Any] = {"type": "sequence", "elements": values} if values else {"type": "const_string", "value": ""}
    return _tag(CALL + function["name"], content, CALL_END)


def _value(name: str, key: str, schema: Any, parameters: Mapping[str, Any], types: ToolTypes) -> dict[str, Any]:
    kind = types.of(name, key)
    if kind.choices is not None:
        spelled = dict.fromkeys(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in kind.choices)
        return {"type": "or", "elements": [{"type": "const_string", "value": text} for text in spelled]}
    if kind.anything or "string" in (kind.types or ()):
        return {"type": "any_text"}
    shared = {word: parameters[word] for word in ("$defs", "definitions") if word in parameters}
    return {"type": "json_schema", "json_schema": plain_schema({**schema, **shared})}
