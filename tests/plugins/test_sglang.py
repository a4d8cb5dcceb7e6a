"""The plugin in the real SGLang: found by its entry point, and its detectors behind SGLang's own parsers."""

from __future__ import annotations

import json

import pytest

pytest.importorskip(
    "sglang", exc_type=ImportError, reason="SGLang is not installed here; `make test-plugins` makes an environment with it"
)

from sglang.srt.entrypoints.openai.protocol import Tool
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.parser.reasoning_parser import ReasoningParser
from sglang.srt.plugins import load_plugins

from telechat.chat.formats import get_format
from telechat.chat.parser import parse
from tests.plugins.outputs import CLASSIC, CODER, TOOLS

load_plugins()
CASES = [("telechat3-coder", "telechat3", "telechat3", name, text) for name, text in CODER.items()]
CASES += [("telechat2.5", "telechat2.5", None, name, text) for name, text in CLASSIC.items()]
cases = pytest.mark.parametrize(("fmt", "tool", "reasoning", "name", "text"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])


def expected(fmt, text):
    message = parse(get_format(fmt), text, TOOLS).message
    return message.reasoning_content or "", message.content or "", [(c.name, dict(c.arguments)) for c in message.tool_calls]


def parsers(tool, reasoning):
    tools = [Tool(**t) for t in TOOLS]
    return FunctionCallParser(tools, tool), ReasoningParser(reasoning, stream_reasoning=True) if reasoning else None


@cases
def test_a_whole_output(fmt, tool, reasoning, name, text):
    calls, thoughts = parsers(tool, reasoning)
    thinking, rest = thoughts.parse_non_stream(text) if thoughts else ("", text)
    content, made = calls.parse_non_stream(rest or "")
    got = thinking or "", content or "", [(c.name, json.loads(c.parameters)) for c in made]
    want = expected(fmt, text)
    if not made:  # SGLang gives text without a call back as it is, white space at its end included
        got, want = (got[0], got[1].strip(), got[2]), (want[0], want[1].strip(), want[2])
    assert got == want


@cases
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_streamed_output(fmt, tool, reasoning, name, text, size):
    calls, thoughts = parsers(tool, reasoning)
    thinking = content = ""
    made: dict[int, list[str]] = {}

    def take(normal: str, items: list) -> None:
        nonlocal content
        content += normal
        for item in items:
            entry = made.setdefault(item.tool_index, ["", ""])
            entry[0] += item.name or ""
            entry[1] += item.parameters

    for start in range(0, len(text), size):
        piece = text[start : start + size]
        if thoughts:
            more, piece = thoughts.parse_stream_chunk(piece)
            thinking += more or ""
        if piece:
            take(*calls.parse_stream_chunk(piece))
    if thoughts:
        thinking += thoughts.detector.finish().reasoning_text
    take(*calls.parse_stream_end())
    assert (thinking, content, [(n, json.loads(a)) for n, a in made.values()]) == expected(fmt, text)


def test_the_command_line_knows_the_names():
    from sglang.srt.server_args import _reasoning_parser_choices, _tool_call_parser_choices

    assert {"telechat3", "telechat3_coder", "telechat2.5"} <= set(_tool_call_parser_choices())
    assert {"telechat3", "telechat3_coder"} <= set(_reasoning_parser_choices())
