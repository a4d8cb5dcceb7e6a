"""`telechat bench NAME`: our figures beside the alternatives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAMES = ("train", "rollout", "parser", "serve", "gpu", "quickstart", "recipe")


def command(
    name: Annotated[str, typer.Argument(help="train, rollout, parser, serve, gpu, quickstart or recipe")],
    seeds: Annotated[str, typer.Option(help="seeds of quickstart and recipe")] = "0,1,2",
    out: Annotated[Path, typer.Option(help="where quickstart and recipe keep their runs")] = Path("runs/bench"),
    smoke: Annotated[bool, typer.Option(help="the small size of the recipe: tries the command, not the figures")] = False,
    model: Annotated[str | None, typer.Option(help="serve: a trained checkpoint, to measure what eight bits lose")] = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Measure: train (trainer against a plain loop), rollout (engine against transformers.generate), parser
    (against transformers' own), serve (engine against the machine's roofline), gpu (engine on one
    GPU), quickstart, recipe."""
    import difflib
    import importlib
    import json

    from telechat.core.errors import UserError

    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        raise UserError(
            f"bench {name}: unknown; " + (f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(NAMES)}")
        )
    if not all(s.strip().isdigit() for s in seeds.split(",")):
        raise UserError(f"--seeds {seeds}: write whole numbers separated by commas, for example 0,1,2")
    from transformers.utils import logging

    logging.disable_progress_bar()
    if name == "serve":
        found = importlib.import_module("telechat.bench.serve").measure(model)
    elif name in ("train", "rollout", "parser", "gpu"):
        found = importlib.import_module(f"telechat.bench.{name}").measure()
    else:
        numbers = [int(s) for s in seeds.split(",")]
        run = getattr(importlib.import_module("telechat.bench.recipe"), name)
        found = run(numbers, out, "smoke" if smoke else None)
    typer.echo(json.dumps(found, ensure_ascii=False, indent=None if json_ else 1))
