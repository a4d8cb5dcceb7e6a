"""`telechat bench parser`: the parser beside the one in transformers, on the same text in the same process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from telechat.chat.formats import CALL, CALL_END, FORMATS, Format
from telechat.chat.parser import StreamParser

_CODE = (
    '    for name, value in sorted(table.items()):\n        if value < limit:  # keep "small" ones\n            yield name\n'
)
_TOOLS = [{"name": "write", "parameters": {"properties": {"text": {"type": "string"}, "line": {"type": "integer"}}}}]


def measure() -> dict[str, Any]:
    """Every sample text, beside transformers."""
    rows = measure_parser(beside=True)
    return {"texts": [{k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()} for row in rows]}


def sample_texts(size: int) -> dict[str, tuple[Format, str]]:
    """Outputs of about `size` characters: plain thinking and content, one long text argument, and many short calls."""
    coder, hermes = FORMATS["telechat3-coder"], FORMATS["telechat3"]
    code = _CODE * (size // len(_CODE) + 1)
    head = f"{CALL}write<param_key>text</param_key><param_value>"
    short = f"{head}{_CODE * 4}</param_value><param_key>line</param_key><param_value>5</param_value>{CALL_END}"
    escaped = _CODE.replace("\n", "\\n").replace('"', '\\"') * 4
    spoken = f'\n{CALL}\n{{"name": "write", "arguments": {{"text": "{escaped}", "line": 5}}}}\n{CALL_END}'
    return {
        "thinking": (coder, f"\n{code}\n</think>done"),
        "content": (coder, f"</think>{code}"),
        "one long argument": (coder, f"</think>{head}{code}</param_value>{CALL_END}"),
        "many calls (xml)": (coder, "</think>" + short * (size // len(short) + 1)),
        "many calls (json)": (hermes, "</think>" + spoken * (size // len(spoken) + 1)),
    }


def measure_parser(size: int = 2_000_000, delta: int = 4, repeats: int = 3, beside: bool = False) -> list[dict[str, Any]]:
    """One row for each sample text: MB/s in one go and µs for each delta of `delta` characters, the best of `repeats`.

    `beside` adds the same figures for transformers' `ResponseParser`, which needs transformers to be installed.
    """
    rows = []
    for name, (fmt, text) in sample_texts(size).items():
        row: dict[str, Any] = {"text": name, "bytes": len(text.encode())}
        row |= _figures(lambda fmt=fmt: StreamParser(fmt, _TOOLS), "finish", text, delta, repeats)  # type: ignore[misc]
        if beside:
            theirs = _figures(lambda fmt=fmt: _transformers_parser(fmt), "finalize", text, delta, repeats)  # type: ignore[misc]
            row |= {f"transformers_{key}": value for key, value in theirs.items()}
        rows.append(row)
    return rows


def _figures(new: Callable[[], Any], end: str, text: str, delta: int, repeats: int) -> dict[str, float]:
    pieces = [text[i : i + delta] for i in range(0, len(text), delta)]
    whole = min(_seconds(new(), end, [text]) for _ in range(repeats))
    streamed = min(_seconds(new(), end, pieces) for _ in range(repeats))
    return {"mb_per_s": len(text.encode()) / whole / 1e6, "us_per_delta": streamed / len(pieces) * 1e6}


def _seconds(parser: Any, end: str, pieces: list[str]) -> float:
    begun = time.perf_counter()
    feed = parser.feed
    for piece in pieces:
        feed(piece)
    getattr(parser, end)()
    return time.perf_counter() - begun


def _transformers_parser(fmt: Format) -> Any:
    from transformers.utils.chat_parsing import ResponseParser

    from telechat.chat.template import response_template

    tools = [{"type": "function", "function": tool} for tool in _TOOLS]
    return ResponseParser(response_template(fmt), prefix=fmt.generation_prompt, tools=tools)
