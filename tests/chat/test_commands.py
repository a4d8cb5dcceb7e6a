"""`telechat render` and `telechat parse`: their output, their errors, and that they are quick."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from chat_cases import CODER, WEATHER, bot, byte_tokenizer, call, openai, user
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner, Result

from telechat.chat.formats import get_format
from telechat.chat.render import Renderer, render_text
from telechat.chat.template import attach
from telechat.cli import parse, render
from telechat.core.errors import UserError

MESSAGES = [user("q"), bot("Hi.", "plan", call(city="北京"))]


@pytest.fixture
def run() -> Callable[..., Result]:
    app = typer.Typer()
    app.command("render")(render.command)
    app.command("parse")(parse.command)

    def invoke(*arguments: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin)

    return invoke


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], str]:
    def put(name: str, data: Any) -> str:
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return str(path)

    return put


def test_render_prints_the_text_and_nothing_else(run: Callable[..., Result], write: Callable[[str, Any], str]) -> None:
    file = write("m.json", openai(MESSAGES, arguments_as_text=True))
    done = run("render", "--format", "telechat3-coder", "--messages", file, "--no-generation-prompt")
    assert done.stdout == render_text(CODER, MESSAGES, add_generation_prompt=False)
    assert not done.stdout.endswith("\n")


def test_render_takes_tools_from_either_file(run: Callable[..., Result], write: Callable[[str, Any], str]) -> None:
    together = write("both.json", {"messages": openai(MESSAGES), "tools": [WEATHER]})
    alone, tools = write("m.json", openai(MESSAGES)), write("t.json", [WEATHER])
    first = run("render", "--format", "telechat3", "--messages", together, "--json")
    second = run("render", "--format", "telechat3", "--messages", alone, "--tools", tools, "--json")
    assert first.stdout == second.stdout
    shown = json.loads(first.stdout)
    assert "get_weather" in shown["text"]
    assert shown["ids"] is shown["mask"] is None


def test_render_with_a_checkpoint_adds_ids_and_mask(
    run: Callable[..., Result], write: Callable[[str, Any], str], tmp_path: Path
) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer().backend_tokenizer)
    attach(tokenizer, CODER)
    tokenizer.save_pretrained(tmp_path / "model")
    file = write("m.json", openai(MESSAGES))
    done = run("render", "--model", str(tmp_path / "model"), "--messages", file, "--json")
    expected = Renderer(byte_tokenizer(), CODER).render(MESSAGES)
    assert json.loads(done.stdout) == {"text": expected.text, "ids": expected.ids, "mask": expected.mask}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[{]", r"m.json: line 1, column 3: is not JSON"),
        (b"\xff", r"m.json: is not UTF-8 text \(byte 0\)"),
        (b"5", r"m.json: messages must be a list, not int"),
        (b"{}", r'm.json: has no "messages"'),
        (b"[]", r"the conversation is empty"),
        (b'[{"role": "user"}, {"role": "king"}]', r"m.json: message 1: unknown role 'king'"),
        (b'[{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]', r"message 0: .*not JSON"),
        (b'{"messages": [], "tools": [{"type": "function"}]}', r"m.json: tool 0 has no name"),
        (b'{"messages": [], "tools": "f"}', r"m.json: tools must be a list"),
        (b"[" * 100_000, r"m.json: is nested too deeply"),
    ],
)
def test_render_says_what_is_wrong_with_a_file(
    run: Callable[..., Result], write: Callable[[str, Any], str], content: bytes, message: str
) -> None:
    done = run("render", "--format", "telechat3", "--messages", write("m.json", content))
    assert isinstance(done.exception, UserError)
    with pytest.raises(UserError, match=message):
        raise done.exception
    assert "\n" not in str(done.exception)


def test_render_says_what_is_missing(run: Callable[..., Result], write: Callable[[str, Any], str], tmp_path: Path) -> None:
    file = write("m.json", openai(MESSAGES))
    for arguments, message in [
        (["--messages", file], "--format NAME or --model FOLDER"),
        (["--format", "coder", "--messages", file], "did you mean telechat3-coder"),
        (["--format", "t1", "--messages", str(tmp_path / "none.json")], "none.json: cannot be read: No such file"),
        (["--model", str(tmp_path / "none"), "--messages", file], "none"),
    ]:
        done = run("render", *arguments)
        assert isinstance(done.exception, UserError)
        assert message in str(done.exception)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "assistant", "tool_calls": 5}, "tool_calls must be a list"),
        ({"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[" * 100_000}]}, "are not JSON"),
        ({"role": ["user"]}, "unknown role"),
    ],
)
def test_odd_messages_are_one_line(
    run: Callable[..., Result], write: Callable[[str, Any], str], message: Any, said: str
) -> None:
    done = run("render", "--format", "t1", "--messages", write("m.json", [message]))
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)


def test_a_number_of_thousands_of_digits_is_one_line(run: Callable[..., Result], write: Callable[[str, Any], str]) -> None:
    done = run("render", "--format", "t1", "--messages", write("m.json", b'[{"role": "user", "n": ' + b"9" * 5000 + b"}]"))
    assert isinstance(done.exception, UserError)


def test_parse_reads_as_a_checkpoints_own_format(run: Callable[..., Result], tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    attach(tokenizer, get_format("telechat3-coder"))
    tokenizer.save_pretrained(tmp_path)
    done = run("parse", "--model", str(tmp_path), "--json", stdin="plan</think>Hi.<_end>")
    assert json.loads(done.stdout)["message"]["reasoning_content"] == "plan"
    assert isinstance(run("parse", stdin="x").exception, UserError)


def test_odd_schemas_are_no_reason_to_stop(run: Callable[..., Result], write: Callable[[str, Any], str]) -> None:
    schema = {"properties": {"a": {"allOf": 5}, "b": {"anyOf": "x"}}}
    tools = write("t.json", [{"name": "f", "parameters": schema}])
    text = "</think><tool_call>f<param_key>a</param_key><param_value>1</param_value></tool_call>"
    done = run("parse", "--format", "telechat3-coder", "--tools", tools, "--json", stdin=text)
    assert json.loads(done.stdout)["message"]["tool_calls"][0]["function"]["name"] == "f"


def test_parse_shows_the_openai_message(run: Callable[..., Result], write: Callable[[str, Any], str]) -> None:
    text = "plan</think>Hi.<tool_call>get_weather<param_key>city</param_key><param_value>5</param_value></tool_call>\n<_end>\n"
    tools = write("t.json", {"tools": [WEATHER]})
    done = run("parse", "--format", "telechat3-coder", "--tools", tools, "--json", stdin=text)
    function = {"name": "get_weather", "arguments": '{"city": "5"}'}
    message = {"role": "assistant", "content": "Hi.", "reasoning_content": "plan"}
    message["tool_calls"] = [{"id": "call_0", "type": "function", "function": function}]
    assert json.loads(done.stdout) == {"message": message, "truncated": False}
    pieces = run("parse", "--format", "telechat3-coder", "--tools", tools, "--json", "--chunk", "3", stdin=text)
    shown = json.loads(pieces.stdout)
    assert shown["message"] == message
    calls = [d["tool_calls"][0]["function"]["arguments"] for d in shown["deltas"] if "tool_calls" in d]
    assert "".join(calls) == function["arguments"]
    assert "".join(d.get("content", "") for d in shown["deltas"]) == "Hi."


def test_parse_is_readable_without_json(run: Callable[..., Result]) -> None:
    done = run("parse", "--format", "telechat3-coder", stdin="plan</think>Hi.<tool_call>f<param_key>a")
    assert done.stdout.startswith("thinks: plan\nsays: Hi.")
    assert "truncated" in done.stdout
    done = run("parse", "--format", "telechat2.5", "--chunk", "1", stdin="Hi")
    assert done.stdout == '{"content": "H"}\n{"content": "i"}\nsays: Hi\n'


def test_parse_refuses_what_it_cannot_read(run: Callable[..., Result]) -> None:
    for arguments, stdin, message in [
        (["--format", "t1"], b"a\xff", "stdin: is not UTF-8 text (byte 1)"),
        (["--format", "t1", "--chunk", "0"], b"", "--chunk 0: at least 1"),
        (["--format", "t2"], b"", "unknown chat format 't2'"),
    ]:
        done = run("parse", *arguments, stdin=stdin)
        assert isinstance(done.exception, UserError)
        assert message in str(done.exception)


def test_formats_rendering_and_parsing_load_neither_torch_nor_transformers(tmp_path: Path) -> None:
    program = (
        "import sys, io\n"
        "from telechat.cli import render, parse\n"
        "render.command(messages=__import__('pathlib').Path(sys.argv[1]), format_name='telechat3')\n"
        "parse.command(format_name='telechat3')\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    file = tmp_path / "m.json"
    file.write_text('[{"role": "user", "content": "q"}]')
    done = subprocess.run([sys.executable, "-c", program, str(file)], input=b"a</think>b", capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == "<_system><_user>q<_bot><think>\nthinks: a\nsays: b\n"
