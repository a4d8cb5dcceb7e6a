"""What the text of a tool argument means: values typed by the tool's JSON schema, and JSON that is always valid.

In the XML call format strings stand raw between their tags, and everything else is JSON. Only the schema can tell `5`
the number from `5` the text, so it is read in full: `type` (also lists and the short names that some tool sets use),
`nullable`, `anyOf`, `oneOf`, `allOf`, `enum`, `const`, `$ref`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 100
"""JSON nested deeper than this is not read as JSON; it stays text."""
MAX_NULL = 64
"""A nullable string is null only when it is `null` within at most this many characters."""

_ALL = frozenset({"string", "integer", "number", "boolean", "object", "array", "null"})
_ALIASES = {"str": "string", "int": "integer", "float": "number", "double": "number", "bool": "boolean"}
_ALIASES |= {"dict": "object", "list": "array", "tuple": "array", "none": "null"}
_decode = json.JSONDecoder(strict=False, parse_constant=str).raw_decode
_SURROGATE = re.compile("[\ud800-\udfff]")
JSON_START = frozenset("{[-0123456789tfn")
"""Where the schema does not say, a value that begins otherwise is text."""


def mend_surrogates(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced by U+FFFD, so that it can be written as UTF-8."""
    if not has_surrogates(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def has_surrogates(text: str) -> bool:
    """Whether `text` cannot be written as UTF-8."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def load_json(text: str) -> Any:
    """The JSON value of `text`; NaN and infinities become text. Raises `ValueError` for anything else, also for
    values that are nested too deeply."""
    value, end = decode_json(text, len(text) - len(text.lstrip(" \t\r\n")))
    if text[end:].strip(" \t\r\n"):
        raise ValueError("more than one value")
    return value


def decode_json(text: str, pos: int) -> tuple[Any, int]:
    """The JSON value that begins at `pos` and the position behind it; otherwise as `load_json`."""
    try:
        value, end = _decode(text, pos)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    text = text[pos:end]
    if text.count("[") + text.count("{") > MAX_DEPTH and depth_exceeds(value, MAX_DEPTH):
        raise ValueError("nested too deeply")
    return value, end


def dump_json(value: Any) -> str:
    """Valid JSON of a loaded value, encodable as UTF-8; numbers beyond floating point become text."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False)
    return mend_surrogates(text)


def depth_exceeds(value: Any, limit: int) -> bool:
    """Whether containers are nested more than `limit` deep in `value`."""
    level = [value]
    for _ in range(limit):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return any(isinstance(item, (dict, list)) for item in level)


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class ValueType:
    """What a schema allows: JSON type names (None: anything) and, for an enumeration, the values."""

    types: frozenset[str] | None = None
    choices: tuple[Any, ...] | None = None

    @property
    def only_text(self) -> bool:
        """Every text is a value as it stands."""
        return self.types == {"string"}

    @property
    def text_or_null(self) -> bool:
        """Every text but `null` is a value as it stands."""
        return self.types == {"string", "null"} and self.choices is None

    @property
    def anything(self) -> bool:
        """The schema does not say."""
        return self.types is None and self.choices is None

    def convert(self, text: str) -> Any:
        """The value that `text` stands for; the text itself where the schema allows no other reading. Never raises."""
        if self.only_text:
            return text
        if self.text_or_null:
            return None if is_null(text) else text
        if self.choices is not None and text in self.choices:
            return text
        try:
            value = load_json(text)
        except ValueError:
            return self._lenient(text)
        if isinstance(value, str):
            return text
        if isinstance(value, float) and self._wants_integer() and value.is_integer():
            value = int(value)
        if self.types is not None and not self.types & _types_of(value):
            return text
        if self.choices is not None and not any(type(value) is type(c) and value == c for c in self.choices):
            return text
        return value

    def _wants_integer(self) -> bool:
        return self.types is not None and "integer" in self.types and "number" not in self.types

    def _lenient(self, text: str) -> Any:
        """Python's spelling of truth values and None, where text is not allowed."""
        if self.types is None or "string" in self.types:
            return text
        word = text.strip().lower()
        if "boolean" in self.types and word in ("true", "false"):
            return word == "true"
        return None if "null" in self.types and word == "none" else text


ANYTHING = ValueType()


def is_null(text: str) -> bool:
    """Whether the text of a nullable string means null."""
    return len(text) <= MAX_NULL and text.strip() == "null"


def _types_of(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset({"null"})
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int):
        return frozenset({"integer", "number"})
    if isinstance(value, float):
        return frozenset({"number"})
    if isinstance(value, str):
        return frozenset({"string"})
    return frozenset({"object" if isinstance(value, Mapping) else "array"})


def value_type(schema: Any, root: Any = None) -> ValueType:
    """What a JSON schema allows; `root` is the document that `$ref` points into."""
    types = _allowed(schema, schema if root is None else root, frozenset())
    choices = _choices(schema, root)
    return ValueType(None if types is None or types == _ALL else types, choices)


def _choices(schema: Any, root: Any) -> tuple[Any, ...] | None:
    seen: set[str] = set()
    while isinstance(schema, Mapping):
        if isinstance(schema.get("enum"), Sequence) and not isinstance(schema["enum"], str):
            return tuple(schema["enum"])
        if "const" in schema:
            return (schema["const"],)
        pointer = schema.get("$ref")
        if not isinstance(pointer, str) or pointer in seen:
            return None
        seen.add(pointer)
        schema = _resolve(pointer, root)
    return None


def _allowed(schema: Any, root: Any, seen: frozenset[str]) -> frozenset[str] | None:
    """Type names that `schema` allows; None when it does not say."""
    if not isinstance(schema, Mapping):
        return None
    limits = [_declared(schema)]
    pointer = schema.get("$ref")
    if isinstance(pointer, str) and pointer not in seen:
        limits.append(_allowed(_resolve(pointer, root), root, seen | {pointer}))
    for word in ("anyOf", "oneOf"):
        parts = schema.get(word)
        if isinstance(parts, Sequence) and parts:
            options = [_allowed(part, root, seen) for part in parts]
            limits.append(None if None in options else frozenset().union(*(o for o in options if o is not None)))
    every = schema.get("allOf")
    for part in every if isinstance(every, Sequence) and not isinstance(every, str) else ():
        limits.append(_allowed(part, root, seen))
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    both = frozenset.intersection(*known) or frozenset.union(*known)
    return both | {"null"} if schema.get("nullable") is True else both


def _declared(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """The types that the schema itself names, by `type`, by its values, or by its shape."""
    for word in ("enum", "const"):
        if word in schema:
            values = schema[word] if word == "enum" else [schema[word]]
            if isinstance(values, Sequence) and not isinstance(values, str) and values:
                return frozenset().union(*(_types_of(v) for v in values))
    names = schema.get("type")
    if isinstance(names, str):
        names = [names]
    if isinstance(names, Sequence):
        lower = [name.lower() for name in names if isinstance(name, str)]
        types = frozenset(_ALIASES.get(name, name) for name in lower)
        if types and types <= _ALL:
            return types | {"integer"} if "number" in types else types
        return None
    if "properties" in schema or "additionalProperties" in schema:
        return frozenset({"object"})
    return frozenset({"array"}) if "items" in schema else None


def _resolve(pointer: str, root: Any) -> Any:
    if not pointer.startswith("#"):
        return None
    here = root
    for step in pointer[1:].split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(here, Mapping) or step not in here:
            return None
        here = here[step]
    return here


class ToolTypes:
    """The names and argument types of a set of tools: OpenAI chat tools, Responses tools or bare functions."""

    def __init__(self, tools: Iterable[Any]) -> None:
        self._parameters: dict[str, Any] = {}
        self._known: dict[tuple[str, str], ValueType] = {}
        for tool in tools:
            plain = tool.model_dump() if hasattr(tool, "model_dump") else tool
            function = plain.get("function", plain) if isinstance(plain, Mapping) else None
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                schema = function.get("parameters", function.get("input_schema"))
                self._parameters[function["name"]] = schema

    @property
    def names(self) -> frozenset[str]:
        """Names of the tools; empty when none are known."""
        return frozenset(self._parameters)

    def of(self, name: str, key: str) -> ValueType:
        """The type of argument `key` of tool `name`; anything where the schema does not say."""
        found = self._known.get((name, key))
        if found is None:
            found = self._known[name, key] = self._look_up(name, key)
        return found

    def _look_up(self, name: str, key: str) -> ValueType:
        root = self._parameters.get(name)
        schema = root
        if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
            schema = _resolve(schema["$ref"], root)
        if not isinstance(schema, Mapping):
            return ANYTHING
        properties = schema.get("properties")
        if isinstance(properties, Mapping) and key in properties:
            return value_type(properties[key], root)
        more = schema.get("additionalProperties")
        return value_type(more, root) if isinstance(more, Mapping) else ANYTHING
