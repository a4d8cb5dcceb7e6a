"""`telechat render`: what a conversation becomes before a model reads it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from telechat.chat.formats import Format
    from telechat.core.types import Message

_FORMAT = typer.Option("--format", help="telechat2.5, t1, telechat3 or telechat3-coder.", show_default=False)
_MODEL = typer.Option(
    help="A checkpoint folder or a finished run directory: adds token ids and the loss mask.", show_default=False
)
_MESSAGES = typer.Option(help='A JSON list of OpenAI messages, or an object with "messages" (and "tools"); - reads stdin.')
_TOOLS = typer.Option(help="A JSON list of OpenAI tools.", show_default=False)


def command(
    messages: Annotated[Path, _MESSAGES],
    format_name: Annotated[Optional[str], _FORMAT] = None,  # noqa: UP045 (typer reads it at run time)
    model: Annotated[Optional[Path], _MODEL] = None,  # noqa: UP045
    tools: Annotated[Optional[Path], _TOOLS] = None,  # noqa: UP045
    no_generation_prompt: Annotated[bool, typer.Option("--no-generation-prompt", help="End after the last message.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="text, ids and mask as one JSON document.")] = False,
) -> None:
    """Show the text that a conversation becomes; with --model and --json its token ids and loss mask too."""
    from telechat.chat.render import render_text

    fmt, tokenizer = the_format("render", format_name, model)
    conversation, given = read_conversation(messages)
    if tools is not None:
        given = read_tools(tools)
    ids: list[int] | None = None
    mask: list[int] | None = None
    if tokenizer is None:
        text = render_text(fmt, conversation, given, not no_generation_prompt)
    else:
        from telechat.chat.detect import renderer_of
        from telechat.chat.formats import OTHER_FAMILY

        renderer = renderer_of(tokenizer, None if fmt.name == OTHER_FAMILY else fmt)
        rendered = renderer.render(conversation, given, not no_generation_prompt)
        text, ids, mask = rendered.text, rendered.ids, rendered.mask
    if as_json:
        text = json.dumps({"text": text, "ids": ids, "mask": mask}, ensure_ascii=False) + "\n"
    write_text(text)


def the_format(command: str, name: str | None, folder: Path | None) -> tuple[Format, PreTrainedTokenizerFast | None]:
    """The format that is named, or else the one of the checkpoint in `folder`, and that checkpoint's tokenizer."""
    from telechat.chat.formats import get_format
    from telechat.core.errors import UserError

    if folder is None:
        if name is None:
            raise UserError(f"telechat {command}: say how, with --format NAME or --model FOLDER")
        return get_format(name), None
    from telechat.chat.detect import is_of_the_family, known_format, renderer_of  # with jinja2, which formats do not need

    chosen = get_format(name) if name is not None else None
    tokenizer = _tokenizer(folder)
    if chosen is None and not is_of_the_family(tokenizer):
        return renderer_of(tokenizer).format, tokenizer
    fmt = chosen or known_format(tokenizer)
    if fmt is None:
        raise UserError(f"{folder}: its chat template is not one of the TeleChat formats; name one with --format")
    return fmt, tokenizer


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    from telechat.models.loading import check_folder, load_tokenizer

    here = folder if (folder / "tokenizer_config.json").is_file() else check_folder(folder)
    return load_tokenizer(here)


def read_conversation(path: Path) -> tuple[list[Message], list[dict[str, Any]]]:
    """The messages (and tools) in a JSON file. Raises `UserError` that names the file and the message."""
    from telechat.core.errors import UserError
    from telechat.core.types import Message

    data = read_document(path)
    tools: list[dict[str, Any]] = []
    if isinstance(data, dict):
        if "messages" not in data:
            raise UserError(f'{path}: has no "messages"; give a list of messages or {{"messages": […]}}')
        tools = check_tools(data.get("tools") or [], path)
        data = data["messages"]
    if not isinstance(data, list):
        raise UserError(f"{path}: messages must be a list, not {type(data).__name__}")
    out = []
    for i, item in enumerate(data):
        try:
            out.append(Message.from_dict(item))
        except ValueError as error:
            raise UserError(f"{path}: message {i}: {error}") from None
    return out, tools


def read_tools(path: Path) -> list[dict[str, Any]]:
    """The tools in a JSON file: a list, or an object with "tools"."""
    data = read_document(path)
    return check_tools(data.get("tools") if isinstance(data, dict) and "tools" in data else data, path)


def check_tools(data: Any, path: Path) -> list[dict[str, Any]]:
    """`data` if it is a list of tools with names; `UserError` otherwise."""
    from telechat.core.errors import UserError

    if not isinstance(data, list):
        raise UserError(f"{path}: tools must be a list of OpenAI tools")
    for i, tool in enumerate(data):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UserError(f'{path}: tool {i} has no name; write {{"type": "function", "function": {{"name": …}}}}')
    return data


def read_document(path: Path) -> Any:
    """The JSON document in a file (`-`: stdin). Raises `UserError` for whatever is wrong with it."""
    from telechat.core.errors import UserError

    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return json.loads(raw.decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {error.lineno}, column {error.colno}: is not JSON: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise UserError(f"{path}: cannot be used as JSON: {error}") from None


def write_text(text: str) -> None:
    """Write to stdout as it is, in UTF-8; what UTF-8 cannot write becomes U+FFFD."""
    from telechat.chat.values import mend_surrogates

    sys.stdout.flush()
    sys.stdout.buffer.write(mend_surrogates(text).encode("utf-8"))
    sys.stdout.buffer.flush()
