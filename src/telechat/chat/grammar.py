"""What a forced answer may look like, as text for a grammar engine: tool calls in a format's own syntax, or JSON.

The grammars are written in llguidance's dialect of Lark (https://github.com/guidance-ai/llguidance, docs/syntax.md):
control words are tokens by id, `%json` is a schema, and a lexeme with a `suffix` is raw text up to that suffix. They
begin where the thinking has ended. Building one needs no library.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from telechat.chat.formats import CALL, CALL_END, OTHER_FAMILY, Format
from telechat.chat.tool_types import ToolTypes

VALUE_END = "</param_value>"

_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON as models have read it: on one line, so that nothing can fill a line with spaces for ever."""

_RESERVED = ("x-guidance", "%llguidance")
"""Keys through which a client's schema could give orders to the grammar engine."""


def plain_schema(schema: Any) -> Any:
    """A client's schema without orders to the grammar engine, at any depth."""
    if isinstance(schema, Mapping):
        return {key: plain_schema(value) for key, value in schema.items() if key not in _RESERVED}
    return [plain_schema(item) for item in schema] if isinstance(schema, list) else schema


def answer_grammar(
    fmt: Format,
    control_ids: Mapping[str, int],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    only: str | None = None,
    several: bool = True,
    schema: Mapping[str, Any] | None = None,
    strict: Collection[str] | None = None,
) -> str:
    """An answer that calls `tools`, or is one JSON value that fits `schema`; either of them where both are given.

    Of the tools at least one is called, or once the tool `only`; several calls only where they are allowed. With
    `strict` the answer is free, text and calls; but calls of the tools that it names fit their schemas. `control_ids`
    gives the ids of the control words that the vocabulary has.
    """
    functions = [tool.get("function", tool) for tool in tools]
    chosen = [f for f in functions if only is None or f["name"] == only]
    answers, rules = [], []
    if chosen:
        types = ToolTypes(tools)
        between = '"\\n"' if fmt.calls == "json" else ""
        answers.append(f"call ({between} call)*" if several and only is None else "call")
        names = " | ".join(f"tool_{number}" for number in range(len(chosen)))
        rules.append(f"call: {_word(CALL, control_ids)} ({names}) {_word(CALL_END, control_ids)}")
        for number, function in enumerate(chosen):
            if strict is not None and function["name"] not in strict:
                function = {"name": function["name"]}
                if fmt.calls == "xml":
                    rules.append(f"tool_{number}: {json.dumps(function['name'])} (ARGUMENTS)?")
                    continue
            rules += _json_call(number, function) if fmt.calls == "json" else _xml_call(number, function, types)
    if schema is not None:
        answers.append("value")
        rules.append(f"value: {_json(schema)}")
    start = f"{_lead(fmt)} ({' | '.join(answers)})"
    if strict is not None:
        start = "FREE (call FREE)*" if several else "FREE (call FREE)?"
        rules += [f"FREE: /(.|\\n)*/ & ~/(.|\\n)*{CALL}(.|\\n)*/", "ARGUMENTS: /<param_key>(.|\\n)*/"]
    return "\n".join([f"start: {start}", *rules]) + "\n"


def _lead(fmt: Format) -> str:
    """What a format writes between the thinking and the answer; models of other families, one line end or two."""
    if fmt.name == OTHER_FAMILY:
        return '("\\n" | "\\n\\n")?'
    return '"\\n"?' if fmt.thinking == "dropped" else ""


def _word(word: str, control_ids: Mapping[str, int]) -> str:
    return f"<[{control_ids[word]}]>" if word in control_ids else json.dumps(word)


def _json(schema: Mapping[str, Any]) -> str:
    """`schema` as an inline rule. Newlines cannot occur in it, since JSON escapes them."""
    return "%json " + json.dumps({**plain_schema(schema), "x-guidance": _LAYOUT})


def parameters_of(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a tool's arguments, in either API's word; empty where there is none."""
    given = function.get("parameters") or function.get("input_schema")
    return given if isinstance(given, Mapping) else {}


def _json_call(number: int, function: Mapping[str, Any]) -> list[str]:
    schema = {"type": "object", **parameters_of(function)}
    name = json.dumps(function["name"])
    opening = json.dumps('\n{"name": ' + name + ', "arguments": ')
    return [f'tool_{number}: {opening} arguments_{number} "}}\\n"', f"arguments_{number}: {_json(schema)}"]


def _xml_call(number: int, function: Mapping[str, Any], types: ToolTypes) -> list[str]:
    parameters = parameters_of(function)
    properties = parameters.get("properties")
    named = parameters.get("required")
    required = named if isinstance(named, list) else ()
    parts, rules = [json.dumps(function["name"])], []
    for index, (key, schema) in enumerate((properties if isinstance(properties, Mapping) else {}).items()):
        rule = f"value_{number}_{index}"
        opening = json.dumps(f"<param_key>{key}</param_key><param_value>", ensure_ascii=False)
        parts.append(f"{opening} {rule}" if key in required else f"({opening} {rule})?")
        rules.append(_xml_value(rule, function["name"], key, schema, parameters, types))
    return [f"tool_{number}: {' '.join(parts)}", *rules]


def _xml_value(rule: str, name: str, key: str, schema: Any, parameters: Mapping[str, Any], types: ToolTypes) -> str:
    """A value and the tag that ends it: texts stand raw, everything else is JSON."""
    kind = types.of(name, key)
    if kind.choices is not None:
        return f"{rule}: ({_alternatives(kind.choices)}) {json.dumps(VALUE_END)}"
    if kind.anything or "string" in (kind.types or ()):
        return f"{rule}[suffix={json.dumps(VALUE_END)}]: /(.|\\n)*/"
    shared = {word: parameters[word] for word in ("$defs", "definitions") if word in parameters}
    return f"{rule}: {_json({**schema, **shared})} {json.dumps(VALUE_END)}"


def _alternatives(values: Iterable[Any]) -> str:
    spelled = dict.fromkeys(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values)
    return " | ".join(json.dumps(text, ensure_ascii=False) for text in spelled)
