"""`telechat web check`: operate a page in a browser and grade it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    action: Annotated[str, typer.Argument(help="check")],
    page: Annotated[Path, typer.Argument(help="An HTML file, or an answer that holds a page; - reads stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout: the verdict.")] = False,
) -> None:
    """Open a page in a browser that reaches no network, use its controls, and say what does not work."""
    import asyncio

    from telechat.core.errors import UserError
    from telechat.web.check import ADVICE, check_page
    from telechat.web.extract import page_of

    if action != "check":
        raise UserError(f"telechat web {action!r}: there is telechat web check PAGE")
    try:
        text = (sys.stdin.buffer.read() if str(page) == "-" else page.read_bytes()).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{page}: cannot be read: {error}") from None
    try:
        html = page_of(text)
    except UserError as error:
        raise UserError(f"{page}: {error}") from None
    verdict = asyncio.run(check_page(html))
    if as_json:
        typer.echo(json.dumps(verdict.to_dict(), ensure_ascii=False))
        return
    for rule in verdict.rules:
        mark = "ok  " if rule.passed else "note" if rule.rule in ADVICE else "FAIL"
        typer.echo(f"{mark}  {rule.rule:<11}{rule.evidence}".rstrip())
    typer.echo(f"{'passed' if verdict.passed else 'failed'}, score {verdict.score:.2f}")
