"""`telechat parse`: what the text that a model generated means."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from telechat.chat.parser import Parsed

_FORMAT = typer.Option("--format", help="telechat2.5, t1, telechat3 or telechat3-coder.", show_default=False)
_MODEL = typer.Option(help="A checkpoint folder or a finished run directory: its own format.", show_default=False)
_TOOLS = typer.Option(help="A JSON list of OpenAI tools: their schemas type the arguments.", show_default=False)
_CHUNK = typer.Option(help="Feed the text in pieces of this many characters, and show the deltas.", show_default=False)


def command(
    format_name: Annotated[Optional[str], _FORMAT] = None,  # noqa: UP045 (typer reads it at run time)
    model: Annotated[Optional[Path], _MODEL] = None,  # noqa: UP045
    tools: Annotated[Optional[Path], _TOOLS] = None,  # noqa: UP045
    chunk: Annotated[Optional[int], _CHUNK] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="The OpenAI message as one JSON document.")] = False,
) -> None:
    """Read what a model generated after the generation prompt from stdin, and show the message that it means."""
    from telechat.chat.parser import StreamParser
    from telechat.cli.render import read_tools, the_format, write_text
    from telechat.core.errors import UserError

    fmt, _ = the_format("parse", format_name, model)
    if chunk is not None and chunk < 1:
        raise UserError(f"--chunk {chunk}: at least 1 character is needed")
    parser = StreamParser(fmt, read_tools(tools) if tools is not None else ())
    text = _stdin()
    size = chunk or max(1, len(text))
    deltas = [delta for i in range(0, len(text), size) for delta in parser.feed(text[i : i + size])]
    deltas += parser.finish()
    parsed = parser.parsed
    if not as_json:
        write_text(_readable(parsed, [d.to_openai() for d in deltas] if chunk else []))
        return
    out: dict[str, Any] = {"message": parsed.to_openai(), "truncated": parsed.truncated}
    if chunk:
        out["deltas"] = [delta.to_openai() for delta in deltas]
    write_text(json.dumps(out, ensure_ascii=False) + "\n")


def _stdin() -> str:
    from telechat.core.errors import UserError

    raw = sys.stdin.buffer.read()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"stdin: is not UTF-8 text (byte {error.start})") from None


def _readable(parsed: Parsed, deltas: list[dict[str, Any]]) -> str:
    message = parsed.message
    lines = [json.dumps(delta, ensure_ascii=False) for delta in deltas]
    lines += [] if message.reasoning_content is None else [f"thinks: {message.reasoning_content}"]
    lines += [] if message.content is None else [f"says: {message.content}"]
    lines += [f"calls: {call.name} {json.dumps(call.arguments, ensure_ascii=False)}" for call in message.tool_calls]
    lines += ["truncated: the output ended too early"] if parsed.truncated else []
    lines += [f"note: {problem}" for problem in parsed.problems]
    return "".join(f"{line}\n" for line in lines)
