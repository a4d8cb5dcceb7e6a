"""What the arguments of a set of tools are: values typed by the tools' JSON schemas.

In the XML call format strings stand raw between their tags, and everything else is JSON. Only the schema can tell `5`
the number from `5` the text, so it is read in full: `type` (also lists and the short names that some tool sets use),
`nullable`, `anyOf`, `oneOf`, `allOf`, `enum`, `const`, `$ref`; and inside objects and arrays as well: `properties`,
`additionalProperties`, `items`, `prefixItems`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

from telechat.chat.values import dump_json, load_json

MAX_NULL = 64
"""A nullable string is null only when it is `null` within at most this many characters."""
MAX_TYPED = 32
"""Values nested deeper than this keep the types that the model gave them."""
JSON_START = frozenset("{[-0123456789tfn")
"""Where the schema does not say, a value that begins otherwise is text."""

_ALL = frozenset({"string", "integer", "number", "boolean", "object", "array", "null"})
_ALIASES = {"str": "string", "int": "integer", "float": "number", "double": "number", "bool": "boolean"}
_ALIASES |= {"dict": "object", "list": "array", "tuple": "array", "none": "null"}
_COMBINED = ("anyOf", "oneOf", "allOf")
_MAX_SCHEMA = 64
_MAX_PARTS = 256
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


class ValueType:
    """What a schema allows.

    `types`: JSON type names, None for anything. `choices`: the values of an enumeration. `only_text`: every text is a
    value as it stands; `text_or_null`: every text but `null` is; `no_text`: a string is certainly not what is wanted;
    `anything`: the schema does not say; `nested`: it says something about what is inside objects or arrays.
    """

    def __init__(self, schema: Any = None, document: _Document | None = None, depth: int = 0) -> None:
        self._document = document = document or _Document(schema)
        types = document.allowed(schema)
        self.types = None if types == _ALL else types
        self.choices = document.choices(schema)
        self.only_text = self.types == {"string"}
        self.text_or_null = self.types == {"string", "null"} and self.choices is None
        self.no_text = self.types is not None and "string" not in self.types
        self.anything = self.types is None and self.choices is None
        self._parts = document.parts(schema) if depth < MAX_TYPED else ()
        words = ("properties", "additionalProperties", "items", "prefixItems")
        self.nested = any(word in part for part in self._parts for word in words)
        self._first_items = max((len(_first_items(part)) for part in self._parts), default=0)
        self._depth = depth
        self._inner: dict[str | int, ValueType] = {}
        self._right = self._right_already()

    def member(self, key: str) -> ValueType:
        """The type of property `key` of an object."""
        return self._child(key, _member_schemas) if self.nested else ANYTHING

    def item(self, index: int) -> ValueType:
        """The type of an element of an array."""
        return self._child(min(index, self._first_items), _item_schemas) if self.nested else ANYTHING

    def _child(self, name: Any, schemas: Any) -> ValueType:
        found = self._inner.get(name)
        if found is None:
            said = [schema for part in self._parts for schema in schemas(part, name)]
            found = ValueType(self._document.either(said), self._document, self._depth + 1) if said else ANYTHING
            self._inner[name] = found
        return found

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
        return self.coerce(value)

    def _right_already(self) -> frozenset[type]:
        """Python types that `coerce` has nothing to do for, judged by the schema's types alone."""
        kinds = {"string": str, "integer": int, "number": float, "boolean": bool, "object": dict, "array": list}
        right = {kind for name, kind in kinds.items() if self.types is None or name in self.types}
        return frozenset(right - {dict, list} if self.nested else right)

    def coerce(self, value: Any) -> Any:
        """`value`, which the model wrote as JSON, with the types that are asked for, also inside objects and arrays.

        A string becomes what it stands for where no string may be, a number or truth value becomes text where only
        text may be; what cannot be mended stays as it is. Never raises.
        """
        if type(value) in self._right:
            return value
        if isinstance(value, str):
            return self.convert(value)
        if isinstance(value, (dict, list)):
            return self._coerce_inside(value) if self.nested else value
        if value is None or self.types is None or self.types & _types_of(value):
            return value
        if isinstance(value, float) and not math.isfinite(value):
            return value
        if isinstance(value, float) and self._wants_integer() and value.is_integer():
            return int(value)
        return dump_json(value) if "string" in self.types else value

    def _coerce_inside(self, value: dict[str, Any] | list[Any]) -> Any:
        if isinstance(value, list):
            return [self.item(i).coerce(item) for i, item in enumerate(value)]
        made = {}
        for key, item in value.items():
            wanted = self._inner.get(key) or self.member(key)
            made[key] = item if type(item) in wanted._right else wanted.coerce(item)
        return made

    def spell(self, text: str) -> str:
        """JSON text of what `text` stands for."""
        if self.only_text:
            return encode_basestring(text)
        if int in self._right and self.choices is None and _INTEGER.fullmatch(text):
            return text
        return dump_json(self.convert(text))

    def _wants_integer(self) -> bool:
        return self.types is not None and "integer" in self.types and "number" not in self.types

    def _lenient(self, text: str) -> Any:
        """Python's spelling of truth values and None, where text is not allowed."""
        if not self.no_text or self.types is None:
            return text
        word = text.strip().lower()
        if "boolean" in self.types and word in ("true", "false"):
            return word == "true"
        return None if "null" in self.types and word == "none" else text


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


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _member_schemas(part: Mapping[str, Any], key: str) -> Iterator[Any]:
    """What one schema says about a property."""
    properties = part.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        yield properties[key]
    elif isinstance(more := part.get("additionalProperties"), Mapping):
        yield more


def _first_items(part: Mapping[str, Any]) -> Sequence[Any]:
    """Schemas of the first elements, one by one; in older drafts a list of `items`."""
    lists = [part[word] for word in ("items", "prefixItems") if _is_list(part.get(word))]
    return lists[0] if lists else ()


def _item_schemas(part: Mapping[str, Any], index: int) -> Iterator[Any]:
    """What one schema says about an element."""
    first = _first_items(part)
    if index < len(first):
        yield first[index]
    elif isinstance(items := part.get("items"), Mapping):
        yield items


class _Document:
    """A schema that `$ref` points into. Every part is looked at once, by whatever pointers it is reached."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[int, frozenset[str] | None] = {}  # by the identity of a part, which lives as long as this
        self._made: list[Any] = []

    def either(self, schemas: list[Any]) -> Any:
        """A schema that allows what any of `schemas` does."""
        if len(schemas) == 1:
            return schemas[0]
        self._made.append({"anyOf": schemas})
        return self._made[-1]

    def parts(self, schema: Any) -> tuple[Mapping[str, Any], ...]:
        """The schema, and all that it refers to or combines; the first `_MAX_PARTS` of them."""
        found: dict[int, Mapping[str, Any]] = {}
        level = [schema]
        while level and len(found) < _MAX_PARTS:
            fresh = {id(part): part for part in level if isinstance(part, Mapping) and id(part) not in found}
            found |= fresh
            level = []
            for part in itertools.islice(fresh.values(), _MAX_PARTS):
                if isinstance(part.get("$ref"), str):
                    level.append(self._follow(part["$ref"]))
                for word in _COMBINED:
                    if _is_list(part.get(word)):
                        level += part[word][:_MAX_PARTS]
        return tuple(itertools.islice(found.values(), _MAX_PARTS))

    def choices(self, schema: Any) -> tuple[Any, ...] | None:
        """The values of an enumeration; with null where the schema allows it beside them."""
        for _ in range(_MAX_SCHEMA):
            if not isinstance(schema, Mapping):
                return None
            if _is_list(schema.get("enum")):
                kinds = schema.get("type")
                null = schema.get("nullable") is True or (isinstance(kinds, list) and "null" in kinds)
                return (*schema["enum"], *([None] if null and None not in schema["enum"] else []))
            if "const" in schema:
                return (schema["const"],)
            if not isinstance(schema.get("$ref"), str):
                return None
            schema = self._follow(schema["$ref"])
        return None

    def allowed(self, schema: Any, depth: int = 0) -> frozenset[str] | None:
        """Type names that `schema` allows; None when it does not say, and in a circle."""
        if not isinstance(schema, Mapping):
            return None
        if id(schema) in self._known or depth > _MAX_SCHEMA:
            return self._known.get(id(schema))
        self._known[id(schema)] = None
        found = self._known[id(schema)] = self._allowed(schema, depth + 1)
        return found

    def _allowed(self, schema: Mapping[str, Any], depth: int) -> frozenset[str] | None:
        limits = [_declared(schema)]
        if isinstance(schema.get("$ref"), str):
            limits.append(self.allowed(self._follow(schema["$ref"]), depth))
        for word in ("anyOf", "oneOf"):
            if _is_list(schema.get(word)) and schema[word]:
                options = [self.allowed(part, depth) for part in schema[word]]
                limits.append(None if None in options else frozenset().union(*(o for o in options if o is not None)))
        if _is_list(schema.get("allOf")):
            limits += [self.allowed(part, depth) for part in schema["allOf"]]
        known = [limit for limit in limits if limit is not None]
        if not known:
            return None
        both = frozenset.intersection(*known) or frozenset.union(*known)
        return both | {"null"} if schema.get("nullable") is True else both

    def _follow(self, pointer: str) -> Any:
        if not pointer.startswith("#"):
            return None
        here = self._root
        for step in pointer[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if _is_list(here) and step.isdecimal() and len(step) < 10 and int(step) < len(here):
                here = here[int(step)]
            elif isinstance(here, Mapping) and step in here:
                here = here[step]
            else:
                return None
        return here


def _declared(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """The types that the schema itself names, by `type`, by its values, or by its shape."""
    for word in ("enum", "const"):
        if word in schema:
            values = schema[word] if word == "enum" else [schema[word]]
            if _is_list(values) and values:
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
    return frozenset({"array"}) if "items" in schema or "prefixItems" in schema else None


ANYTHING = ValueType()


class ToolTypes:
    """The names and argument types of a set of tools: OpenAI chat tools, Responses tools or bare functions."""

    def __init__(self, tools: Iterable[Any]) -> None:
        self._parameters: dict[str, Any] = {}
        self._known: dict[str, ValueType] = {}
        for tool in tools:
            plain = tool.model_dump() if hasattr(tool, "model_dump") else tool
            function = plain.get("function", plain) if isinstance(plain, Mapping) else None
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                schema = function.get("parameters", function.get("input_schema"))
                self._parameters[function["name"]] = schema
        self.names = frozenset(self._parameters)
        """Names of the tools; empty when none are known."""

    def arguments(self, name: str) -> ValueType:
        """The type of all arguments of tool `name` together."""
        found = self._known.get(name)
        if found is None:
            schema = self._parameters.get(name)
            found = self._known[name] = ValueType(schema) if isinstance(schema, Mapping) else ANYTHING
        return found

    def of(self, name: str, key: str) -> ValueType:
        """The type of argument `key` of tool `name`; anything where the schema does not say."""
        return self.arguments(name).member(key)
