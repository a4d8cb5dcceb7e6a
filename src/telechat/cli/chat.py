"""`telechat chat MODEL`: talk in the terminal, thinking shown dimmed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from telechat.core.types import Message
    from telechat.engine import SamplingParams
    from telechat.serve.session import ChatModel


def command(
    model: Annotated[str, typer.Argument(help="a checkpoint folder or a finished run directory")],
    temperature: Annotated[float, typer.Option(help="0 is greedy")] = 0.0,
    top_p: Annotated[float, typer.Option(help="sample from the likeliest tokens of this share")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="tokens of an answer at most")] = 256,
    system: Annotated[str | None, typer.Option(help="a system message")] = None,
    seed: Annotated[int, typer.Option(help="equal seeds give equal answers")] = 0,
    chat_format: Annotated[str | None, typer.Option("--format", help="chat format; default the checkpoint's own")] = None,
) -> None:
    """Talk to a model. /reset forgets, /system TEXT sets the system message, /quit or Ctrl-D ends; Ctrl-C stops an answer."""
    from transformers.utils import logging

    from telechat.engine import SamplingParams
    from telechat.serve.session import ChatModel

    logging.disable_progress_bar()
    params = SamplingParams(max_tokens, temperature, top_p, seed=seed)
    talk = _Talk(ChatModel.load(model, chat_format), params, system)
    for line in _lines():
        if line in ("/quit", "/exit"):
            return
        if line == "/reset":
            talk.reset()
        elif line == "/system" or line.startswith("/system "):
            talk.reset(line.removeprefix("/system").strip())
        elif line.startswith("/"):
            typer.echo("there are /reset, /system TEXT and /quit", err=True)
        else:
            talk.say(line)


def _lines() -> Iterator[str]:
    """What is typed or piped in; a prompt only where a person types."""
    if not sys.stdin.isatty():
        yield from (stripped for line in sys.stdin if (stripped := line.strip()))
        return
    import readline  # noqa: F401  (editing and history in `input`)

    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            typer.echo()
            return
        except KeyboardInterrupt:
            typer.echo("\n/quit or Ctrl-D ends", err=True)
            continue
        if line:
            yield line


class _Talk:
    """A conversation on the terminal."""

    def __init__(self, chat: ChatModel, params: SamplingParams, system: str | None) -> None:
        self._chat = chat
        self._params = params
        self._system = system
        self._messages: list[Message] = []
        self.reset()

    def reset(self, system: str | None = None) -> None:
        """Forget what was said; a system message given here replaces the one before, an empty one removes it."""
        from telechat.core.types import Message

        self._system = self._system if system is None else system
        self._messages = [Message("system", self._system)] if self._system else []

    def say(self, line: str) -> None:
        """Ask, and show the answer while it is made. What does not fit is not kept; what was stopped is, as far as it got."""
        from telechat.core.errors import UserError
        from telechat.core.types import Message

        asked = [*self._messages, Message("user", line)]
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

    def _show(self, messages: list[Message]) -> None:
        from telechat.chat.parser import CONTENT, REASONING

        before = ""
        try:
            with closing(self._chat.stream(messages, (), self._params)) as deltas:
                for delta in deltas:
                    if before == REASONING and delta.kind != REASONING:
                        typer.echo()
                    before = delta.kind
                    if delta.kind == REASONING:
                        typer.secho(delta.text, dim=True, nl=False)
                    elif delta.kind == CONTENT:
                        typer.echo(delta.text, nl=False)
        except KeyboardInterrupt:
            typer.secho(" … stopped", dim=True, nl=False)
        else:
            if self._chat.finish == "length":
                typer.secho(" … cut; --max-tokens or the context ends here", dim=True, nl=False)
        typer.echo()
