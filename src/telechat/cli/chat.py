"""`telechat chat MODEL`: talk in the terminal, thinking shown dimmed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

if TYPE_CHECKING:
    from telechat.chat.parser import Delta
    from telechat.core.types import Message
    from telechat.engine import SamplingParams

HELP = (
    "/system TEXT  a system message (none: remove it)    /reset        forget the conversation\n"
    "/tools FILE   offer the tools in a JSON file        /preset NAME  code, agent, math, general\n"
    "/save FILE    write the conversation as JSON        /load FILE    go on with a saved one\n"
    "/retry        answer the last question again        /quit         or Ctrl-D\n"
    '""" begins and ends a text of several lines; Ctrl-C stops an answer'
)
MARK = '"""'


class Model(Protocol):
    """What can be talked to: a loaded checkpoint, or a server."""

    last: Message
    finish: str
    said: frozenset[str]

    @property
    def own_sampling(self) -> SamplingParams:
        """How it is sampled where the person does not say; `said` names what the person has said."""

    def stream(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), params: SamplingParams | None = None
    ) -> Generator[Delta]:
        """One answer, piece by piece."""


def command(
    model: Annotated[str, typer.Argument(help="a checkpoint folder, a finished run directory, a hub name, or a server's URL")],
    temperature: Annotated[float | None, typer.Option(help="0 is greedy; default the model's own")] = None,
    top_p: Annotated[float | None, typer.Option(help="sample from the likeliest tokens of this share")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="tokens of an answer at most; default what the context has")] = None,
    system: Annotated[str | None, typer.Option(help="a system message")] = None,
    tools: Annotated[Path | None, typer.Option(help="a JSON file with tools to offer")] = None,
    preset: Annotated[str | None, typer.Option(help="a card's sampling: code, agent, math or general")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**62, help="equal seeds give equal answers")] = None,
    dtype: Annotated[str, typer.Option(help="of the weights: auto, float32, bfloat16, float16 or int8")] = "auto",
    chat_format: Annotated[str | None, typer.Option("--format", help="chat format; default the checkpoint's own")] = None,
) -> None:
    """Talk to a model. /help names the commands; Ctrl-C stops an answer, /quit or Ctrl-D ends.

    The key of a server comes from TELECHAT_API_KEY.
    """
    from transformers.utils import logging

    from telechat.core.errors import UserError

    logging.disable_progress_bar()
    asked: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    chat = _open(model, chat_format, dtype)
    talk = _Talk(chat, replace(chat.own_sampling, **given), system)
    chat.said = frozenset(given)
    if preset is not None:
        talk.preset(preset)
    if tools is not None:
        talk.tools(str(tools))
    for line in _lines():
        name, _, rest = line.partition(" ")
        if name in ("/quit", "/exit"):
            return
        try:
            if not talk.obey(name, rest.strip()):
                talk.say(line)
        except UserError as error:
            if not sys.stdin.isatty():
                raise
            typer.echo(str(error), err=True)


def _open(model: str, chat_format: str | None, dtype: str) -> Model:
    if model.startswith(("http://", "https://")):
        from telechat.serve.remote import RemoteModel

        return RemoteModel(model)
    from telechat.models.hub import refuse_early

    refuse_early(model)
    from telechat.serve.session import ChatModel

    return ChatModel.load(model, chat_format, dtype)


def _piped() -> Iterator[str]:
    """Lines of a pipe; bytes that are not UTF-8 become the replacement character."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    for line in sys.stdin:
        yield line.rstrip("\r\n")


def _lines() -> Iterator[str]:
    """What is typed or piped in, texts between triple quotes as one; a prompt only where a person types."""
    typed = _typed() if sys.stdin.isatty() else _piped()
    for line in typed:
        text = line.strip()
        if text.startswith(MARK):
            parts = [text.removeprefix(MARK)]
            while not parts[-1].endswith(MARK) or (len(parts) == 1 and text == MARK):
                following = next(typed, None)
                if following is None:
                    break
                parts.append(following)
            text = "\n".join(parts).removesuffix(MARK).strip("\n")
        if text:
            yield text


def _typed() -> Iterator[str]:
    import readline

    history = Path.home() / ".cache" / "telechat" / "history"
    with suppress(OSError):
        history.parent.mkdir(parents=True, exist_ok=True)
        readline.read_history_file(history)
    readline.set_history_length(1000)
    try:
        while True:
            try:
                yield input("> ")
            except EOFError:
                typer.echo()
                return
            except KeyboardInterrupt:
                typer.echo("\n/quit or Ctrl-D ends", err=True)
    finally:
        with suppress(OSError):
            readline.write_history_file(history)


class _Talk:
    """A conversation on the terminal."""

    def __init__(self, chat: Model, params: SamplingParams, system: str | None) -> None:
        self._chat = chat
        self._params = params
        self._system = system
        self._tools: list[dict[str, Any]] = []
        self._messages: list[Message] = []
        self.reset()

    def obey(self, name: str, rest: str) -> bool:
        """Do what a command says; False for a line that is none. Raises `UserError` for one that cannot be done."""
        if not name.startswith("/"):
            return False
        commands = {
            "/reset": lambda: self.reset(),
            "/system": lambda: self.reset(rest),
            "/tools": lambda: self.tools(rest),
            "/preset": lambda: self.preset(rest),
            "/save": lambda: self.save(rest),
            "/load": lambda: self.load(rest),
            "/retry": lambda: self.retry(),
        }
        if name in commands:
            commands[name]()
        else:
            typer.echo(HELP, err=True)
        return True

    def tools(self, file: str) -> None:
        """Offer the tools in a JSON file; no file takes them away."""
        from telechat.core.errors import UserError
        from telechat.core.files import read_json

        found = read_json(Path(file)) if file else []
        if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
            raise UserError(f"{file}: give a JSON list of tools")
        self._tools = found

    def preset(self, name: str) -> None:
        """Sample as a card says."""
        from telechat.chat.formats import get_format
        from telechat.chat.presets import get_preset
        from telechat.serve.remote import RemoteModel

        renderer = getattr(self._chat, "renderer", None)
        chosen = get_preset(name, renderer.format if renderer is not None else get_format("telechat3-coder"))
        self._params = replace(
            self._params,
            temperature=chosen.temperature,
            top_p=chosen.top_p,
            repetition_penalty=chosen.repetition_penalty,
        )
        if isinstance(self._chat, RemoteModel):
            self._chat.preset = name  # the server knows its format

    def save(self, file: str) -> None:
        """Write the conversation, and the tools, as JSON."""
        from telechat.core.errors import UserError
        from telechat.core.files import write_text

        if not file:
            raise UserError("/save needs the name of a file")
        talk = {"messages": [m.to_dict() for m in self._messages], "tools": self._tools}
        try:
            write_text(Path(file), json.dumps(talk, ensure_ascii=False, indent=1) + "\n")
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error.strerror}") from None
        typer.echo(f"saved {len(self._messages)} messages in {file}", err=True)

    def load(self, file: str) -> None:
        """Go on with a saved conversation."""
        from telechat.core.errors import UserError
        from telechat.core.files import read_json
        from telechat.core.types import Message

        found = read_json(Path(file))
        try:
            self._messages = [Message.from_dict(m) for m in found["messages"]]
            self._tools = list(found.get("tools") or [])
        except (TypeError, KeyError, ValueError) as error:
            raise UserError(f"{file}: is no saved conversation: {error}") from None
        self._system = next((m.content for m in self._messages if m.role == "system"), None)

    def retry(self) -> None:
        """Answer the last question again, with another seed."""
        last = max((i for i, m in enumerate(self._messages) if m.role == "user"), default=None)
        if last is None:
            typer.echo("nothing has been asked yet", err=True)
            return
        line = self._messages[last].content or ""
        del self._messages[last:]
        self._params = replace(self._params, seed=self._params.seed + 1)
        self._chat.said |= {"seed"}
        self.say(line)

    def reset(self, system: str | None = None) -> None:
        """Forget what was said; a system message given here replaces the one before, an empty one removes it."""
        from telechat.core.types import Message

        self._system = self._system if system is None else system
        self._messages = [Message("system", self._system)] if self._system else []

    def say(self, line: str) -> None:
        """Ask, and show the answer while it is made. What does not fit is not kept; what was stopped is, as far as it got."""
        from telechat.core.types import Message

        self._ask([*self._messages, Message("user", line)])

    def _ask(self, asked: list[Message]) -> None:
        from telechat.core.errors import UserError

        try:
            self._show(asked)
        except UserError as error:
            if not sys.stdin.isatty():
                raise
            typer.echo(f"{error}; /reset forgets the conversation", err=True)
            return
        answer = self._chat.last
        if answer.content or answer.tool_calls:
            self._messages = [*asked, answer]
        if answer.tool_calls and sys.stdin.isatty():
            self._results(answer)

    def _results(self, answer: Message) -> None:
        """Ask the person what each call gives, and let the model go on with it."""
        from telechat.core.types import Message

        results = []
        for call in answer.tool_calls:
            try:
                given = input(f"result of {call.name} (empty: leave it) ")
            except (EOFError, KeyboardInterrupt):
                return
            if not given:
                return
            results.append(Message("tool", given, tool_call_id=call.id))
        self._ask([*self._messages, *results])

    def _show(self, messages: list[Message]) -> None:
        from telechat.chat.parser import ARGUMENTS, CALL_START, CONTENT, REASONING

        before = ""
        try:
            with closing(self._chat.stream(messages, self._tools, self._params)) as deltas:
                for delta in deltas:
                    if before == REASONING and delta.kind != REASONING:
                        typer.echo()
                    before = delta.kind
                    if delta.kind == REASONING:
                        typer.secho(delta.text, dim=True, nl=False)
                    elif delta.kind == CONTENT:
                        typer.echo(delta.text, nl=False)
                    elif delta.kind == CALL_START:
                        typer.secho(f"\n→ {delta.text} ", fg="cyan", nl=False)
                    elif delta.kind == ARGUMENTS:
                        typer.secho(delta.text, fg="cyan", nl=False)
        except KeyboardInterrupt:
            typer.secho(" … stopped", dim=True, nl=False)
        else:
            if self._chat.finish == "length":
                typer.secho(" … cut; --max-tokens or the context ends here", dim=True, nl=False)
        typer.echo()
