"""`telechat run RECIPE`: any recipe, resumed by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[str, typer.Argument(help="a recipe file or a built-in name (nano)")],
    out: Annotated[Path | None, typer.Option(help="run directory; default runs/NAME")] = None,
    until: Annotated[str | None, typer.Option(help="stop after this stage")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. stages.sft.steps=100")] = None,
    any_machine: Annotated[bool, typer.Option(help="resume with other threads or instructions; not bit for bit")] = False,
    json_: Annotated[bool, typer.Option("--json", help="print the report as JSON on stdout")] = False,
) -> None:
    """Run a recipe, going on where an earlier start stopped."""
    from telechat.cli.quickstart import run_and_print

    run_and_print(recipe, out, until, set_ or [], any_machine, json_)
