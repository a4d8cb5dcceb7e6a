"""The pieces of the report page: one self-contained document, light and dark, readable on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

STYLE = """
:root{--bg:#fbfbfa;--fg:#1d2433;--dim:#6b7280;--line:#e3e5e8;--card:#fff;--accent:#1664d9;--good:#0f8a4b;--bad:#c2410c}
@media(prefers-color-scheme:dark){:root{--bg:#12151c;--fg:#e6e9ef;--dim:#9aa3b2;--line:#2a303c;--card:#191e28;--accent:#6aa5ff;--good:#4ade80;--bad:#fb923c}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,"Segoe UI","PingFang SC","Microsoft YaHei",sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 14px}h2{font-size:18px;margin:34px 0 2px}
p.note{color:var(--dim);margin:0 0 10px}.head{display:flex;flex-wrap:wrap;gap:10px}
.fact{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 16px}.fact b{display:block;font-size:20px}.fact span{color:var(--dim);font-size:13px}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:10px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:13.5px}th,td{padding:6px 10px;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tr:last-child td{border-bottom:0}th{color:var(--dim);font-weight:600;white-space:nowrap}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.mean td{font-weight:700}pre{margin:0;white-space:pre-wrap;font:12.5px/1.45 ui-monospace,Menlo,Consolas,monospace}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:12px}.plot{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px}
.plot svg,.bars svg{width:100%;height:auto;display:block}.think{color:var(--dim);font-style:italic}.call{color:var(--accent)}.tool{color:var(--dim)}
.ok{border-left:3px solid var(--good);padding-left:8px}.no{border-left:3px solid var(--bad);padding-left:8px}
.bars{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px}
"""


def page(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[tuple[str, str, str]]) -> str:
    """A whole document: facts on top, then sections of (heading, note, html)."""
    head = "".join(f'<div class="fact"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in facts)
    body = "".join(f'<h2>{escape(h)}</h2><p class="note">{escape(n)}</p>{html}' for h, n, html in sections if html)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f'<div class="head">{head}</div>{body}</main></body></html>\n'
    )


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are HTML already."""
    head = "".join(f"<th>{escape(n)}</th>" for n in names)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def score_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Kinds down, stages across; shares in per cent, shaded by height."""
    if not scores:
        return ""
    kinds = list(next(iter(scores.values())))
    kinds = [k for k in kinds if k != "mean"] + ["mean"]
    head = "<th>kind</th>" + "".join(f"<th>{escape(s)}</th>" for s in scores)
    rows = []
    for kind in kinds:
        cells = "".join(_score(found.get(kind)) for found in scores.values())
        rows.append(f'<tr class="{"mean" if kind == "mean" else ""}"><td>{escape(kind)}</td>{cells}</tr>')
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _score(value: float | None) -> str:
    if value is None:
        return '<td class="n">–</td>'
    return f'<td class="n" style="background:rgba(22,160,90,{0.45 * value**2:.3f})">{100 * value:.1f}</td>'


def bars(values: Mapping[str, float]) -> str:
    """Horizontal bars for shares in [0, 1]."""
    if not values:
        return ""
    rows = []
    for i, (name, value) in enumerate(values.items()):
        y = 6 + i * 26
        rows.append(
            f'<text x="0" y="{y + 14}" font-size="13" fill="currentColor">{escape(name)}</text>'
            f'<rect x="170" y="{y}" width="{max(1.0, 560 * value):.1f}" height="18" rx="4" fill="var(--accent)"/>'
            f'<text x="{178 + 560 * value:.1f}" y="{y + 14}" font-size="13" fill="currentColor">{100 * value:.1f}</text>'
        )
    return f'<div class="bars"><svg viewBox="0 0 800 {len(values) * 26 + 8}">{"".join(rows)}</svg></div>'


def line_chart(title: str, values: Sequence[float]) -> str:
    """A curve with its raw points faint and a running mean on top."""
    width, height, top = 300, 120, 10
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def points(series: Sequence[float]) -> str:
        return " ".join(
            f"{i * width / (len(series) - 1):.1f},{top + (high - v) / span * (height - top):.1f}" for i, v in enumerate(series)
        )

    window = max(1, len(values) // 20)
    smooth = [
        sum(values[max(0, i - window) : i + window + 1]) / len(values[max(0, i - window) : i + window + 1])
        for i in range(len(values))
    ]
    return (
        f'<div class="plot"><svg viewBox="0 -6 {width} {height + 26}"><text x="0" y="4" font-size="12" fill="currentColor">{escape(title)}</text>'
        f'<polyline points="{points(values)}" fill="none" stroke="var(--accent)" stroke-opacity=".25"/>'
        f'<polyline points="{points(smooth)}" fill="none" stroke="var(--accent)" stroke-width="1.8"/>'
        f'<text x="0" y="{height + 14}" font-size="11" fill="var(--dim)">{values[0]:.3g} → {values[-1]:.3g} in {len(values)} steps</text></svg></div>'
    )
