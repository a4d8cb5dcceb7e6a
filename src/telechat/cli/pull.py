"""`telechat pull NAME`: a model from Hugging Face or ModelScope."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="owner/name, as on the hub")],
    source: Annotated[str, typer.Option("--from", help="hf or modelscope")] = "hf",
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit; default the hub's main branch")] = None,
    out: Annotated[Path | None, typer.Option(help="folder to put it into; default the hub's own cache")] = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Fetch a model: goes on where an interrupted download stopped, compares checksums, runs and unpickles nothing."""
    import json

    from telechat.core.errors import UserError
    from telechat.models.hub import SOURCES, licence_note, parse_name, pull

    if source not in SOURCES:
        raise UserError(f"--from {source}: use {' or '.join(SOURCES)}")
    named = parse_name(name)
    if named is None:
        raise UserError(f"{name}: is no hub name; it has the form owner/name")
    if ":" in name:
        source = named[0]
    path = pull(named[1], source, revision, out)
    note = licence_note(path, named[1])
    if note:
        typer.echo(f"telechat: {note}", err=True)
    typer.echo(json.dumps({"name": named[1], "from": source, "folder": str(path)}) if json_ else str(path))
