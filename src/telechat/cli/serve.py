"""`telechat serve MODEL`: an OpenAI-compatible server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def command(
    model: Annotated[str, typer.Argument(help="a checkpoint folder or a finished run directory")],
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free port")] = 8000,
    api_key: Annotated[
        str | None, typer.Option(envvar="TELECHAT_API_KEY", help="the key that clients must send; better in the environment")
    ] = None,
    name: Annotated[str | None, typer.Option(help="the model's name for clients; default the folder's name")] = None,
    chat_format: Annotated[str | None, typer.Option("--format", help="chat format; default the checkpoint's own")] = None,
    slots: Annotated[int, typer.Option(help="answers that are generated together at most", min=1, max=4096)] = 32,
    context: Annotated[int | None, typer.Option(help="tokens of prompt and answer at most; default the model's", min=2)] = None,
) -> None:
    """Serve a model: /v1/chat/completions, /v1/models, /health. Ctrl-C or SIGTERM ends it."""
    from telechat.serve.server import reserve, run, url_of

    with reserve(host, port) as listener:  # before anything heavy: a port in use is known at once
        from transformers.utils import logging

        from telechat.engine import Engine
        from telechat.serve.app import Settings, create_app
        from telechat.serve.session import ChatModel
        from telechat.serve.worker import Worker

        logging.disable_progress_bar()
        chat = ChatModel.load(model, chat_format)
        worker = Worker(lambda: Engine(chat.model, slots, context))
        names = tuple(dict.fromkeys((name or Path(model).resolve().name, model)))
        app = create_app(chat, worker, Settings(names, api_key or None))
        if host not in _LOOPBACK and not api_key:
            typer.echo("telechat: warning: anybody who reaches this machine can use the model; give --api-key", err=True)
        line = f"telechat: serving {names[0]} at {url_of(listener)}/v1 (Ctrl-C ends)"
        run(app, listener, ready=lambda: typer.echo(line, err=True), give_up=worker.halt)
