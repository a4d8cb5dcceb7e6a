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
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="a name, besides localhost, that this machine is asked by; repeat it for more")
    ] = None,
    without_key: Annotated[bool, typer.Option("--without-key", help="let anybody who reaches the address in")] = False,
) -> None:
    """Watch a run: its curves, rewards and rollouts, and any two of its stages side by side in a chat. Ctrl-C ends."""
    from telechat.serve.gate import loopback_hosts, need_key
    from telechat.serve.server import reserve, url_of
    from telechat.serve.server import run as serve

    need_key(host, [api_key] if api_key else [], without_key)
    with reserve(host, port) as listener:
        from telechat.serve.watch import RunFolder, create_watch_app

        hosts = loopback_hosts(host, [api_key] if api_key else [], allowed_host or ())
        app = create_watch_app(RunFolder(run), api_key or None, hosts)
        line = f"telechat: watching {run} at {url_of(listener)} (Ctrl-C ends)"
        serve(app, listener, ready=lambda: typer.echo(line, err=True))
