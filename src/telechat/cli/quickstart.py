"""`telechat quickstart`: the nano recipe, end to end, then how to talk to the result."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path | None, typer.Option(help="run directory; default runs/nano (runs/nano-smoke with --smoke)")] = None,
    smoke: Annotated[bool, typer.Option(help="a small size of the same recipe with every stage in it")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. seed=1")] = None,
    any_machine: Annotated[bool, typer.Option(help="resume with other threads or instructions; not bit for bit")] = False,
    json_: Annotated[bool, typer.Option("--json", help="print the report as JSON on stdout")] = False,
) -> None:
    """Train, improve, measure a TeleChat model from nothing, on two CPU cores; a second start prints the result again."""
    run_and_print("nano", out, None, set_ or [], any_machine, json_, "smoke" if smoke else None)


def run_and_print(
    recipe_name: str,
    out: Path | None,
    until: str | None,
    overrides: list[str],
    any_machine: bool,
    as_json: bool,
    size: str | None = None,
) -> None:
    """Run and print the score table, the report's path and the commands that talk to the result."""
    import json

    from telechat.core.own import code_beside
    from telechat.core.recipe_file import read_recipe
    from telechat.preflight import refuse_what_cannot_run

    code_beside(recipe_name)
    recipe = read_recipe(recipe_name, overrides, size)
    folder = out or Path("runs") / (f"{recipe.name}-{size}" if size else recipe.name)
    refuse_what_cannot_run(recipe, folder, until)
    from transformers.utils import logging

    from telechat.pipeline import run_recipe

    logging.disable_progress_bar()

    report = run_recipe(recipe, folder, until=until, any_machine=any_machine)
    if as_json and not report:
        report = {"recipe": recipe.name, "seed": recipe.seed, "stopped_after": until}
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    if not report:
        return
    from telechat.cli.tables import print_scores

    print_scores(report)
    program = "telechat" if shutil.which("telechat") else sys.argv[0]
    typer.echo(f"\nreport:  {folder / 'report.html'}")
    typer.echo(f"talk:    {program} chat {folder}")
    typer.echo(f"serve:   {program} serve {folder}")
