"""Tables on the terminal."""

from __future__ import annotations

import sys
from typing import Any


def print_scores(report: dict[str, Any]) -> None:
    """The score table of a report: kinds down, judged stages across, per cent of held-out tasks solved."""
    from rich.console import Console
    from rich.table import Table

    scores = report["scores"]
    columns = {**scores, **{f"{k}\nsampled": v for k, v in report["scores_sampled"].items()}}
    columns |= {f"{k}\ntransfer": v for k, v in report["transfer"].items()}
    table = Table(title=f"{report['recipe']}, seed {report['seed']}: held-out tasks solved, per cent")
    table.add_column("kind", no_wrap=True)
    for name in columns:
        table.add_column(name.replace("-", "\n", 1), justify="right", no_wrap=True)
    kinds = [k for k in next(iter(scores.values()), {}) if k != "mean"]
    for kind in [*kinds, "mean"]:
        cells = [f"{100 * found[kind]:.1f}" if kind in found else "–" for found in columns.values()]
        table.add_row(kind, *cells, style="bold" if kind == "mean" else "", end_section=kind == (kinds or [""])[-1])
    width = None if sys.stdout.isatty() else 240
    Console(width=width).print(table)
    memory, rate = report["peak_rss_bytes"] / 2**30, report["machine"]["gemm_gflops"]
    print(f"{report['seconds']:.0f} s in all, peak memory {memory:.2f} GB, {rate:.0f} GFLOP/s")
