"""JSON that models write, read as far as it can be, and JSON that is always valid, written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from json.encoder import encode_basestring
from typing import Any

MAX_DEPTH = 100
"""JSON nested deeper than this is not read as JSON; it stays text."""

_decode = json.JSONDecoder(strict=False, parse_constant=str).raw_decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_FEW = 8
_SURROGATE = re.compile("[\ud800-\udfff]")


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
    if type(value) is dict and len(value) <= _FEW:  # an encoder takes longer to make than a few texts to write
        return "{" + ", ".join([f"{_spell(key)}: {_spell(item)}" for key, item in value.items()]) + "}"
    return _spell(value)


def _spell(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring(value if value.isascii() else mend_surrogates(value))
    if kind is int:
        return str(value)
    try:
        text = _encode(value)
    except ValueError:
        text = _encode(_finite(value))
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
