"""`telechat watch RUN`: a run while it trains, in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="a run directory, finished or not")],
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free port")] = 8001,
    api_key: Annotated[str | None, typer.Option(envvar="TELECHAT_API_KEY", help="the key that the page must send")] = None,
) -> None:
    """Watch a run: its curves, rewards and rollouts, and any two of its stages side by side in a chat. Ctrl-C ends."""
    from telechat.serve.server import reserve, url_of
    from telechat.serve.server import run as serve

    with reserve(host, port) as listener:
        from telechat.serve.watch import RunFolder, create_watch_app

        app = create_watch_app(RunFolder(run), api_key or None)
        line = f"telechat: watching {run} at {url_of(listener)} (Ctrl-C ends)"
        serve(app, listener, ready=lambda: typer.echo(line, err=True), give_up=lambda: None)
