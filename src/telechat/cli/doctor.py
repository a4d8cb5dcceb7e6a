"""`telechat doctor [MODEL]`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    model: Annotated[str | None, typer.Argument(help="a checkpoint folder to examine instead of the machine")] = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Say what this machine can run and what is missing, or what a checkpoint is."""
    import json

    if model:
        from telechat.models.hub import refuse_early

        refuse_early(model)
    from telechat.doctor import examine_checkpoint, examine_machine

    found = examine_checkpoint(model) if model else examine_machine()
    if json_:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    _show(found)


def _show(found: dict, indent: str = "") -> None:
    for key, value in found.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{key}:")
            _show(value, indent + "  ")
        elif isinstance(value, list):
            typer.echo(f"{indent}{key}: {'; '.join(map(str, value)) or 'nothing'}")
        else:
            typer.echo(f"{indent}{key}: {value}")
