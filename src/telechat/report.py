"""The story of a run: report.json for programs, report.html for people (one file, no scripts from elsewhere)."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from telechat.core.files import read_json, write_json, write_text
from telechat.core.recipe import Recipe
from telechat.machine import describe_machine
from telechat.report_html import bars, line_chart, page, score_table, table


def write_report(recipe: Recipe, out: Path, folders: list[Path], anew: bool = True) -> dict[str, Any]:
    """Write OUT/report.json and OUT/report.html from the finished stages' manifests; returns the report. Unless `anew`,
    the machine is not measured again where a report is there."""
    manifests = [read_json(folder / "manifest.json") for folder in folders]
    scores: dict[str, Any] = {}
    sampled: dict[str, Any] = {}
    transfer: dict[str, Any] = {}
    tasks: dict[str, Any] = {}
    stages = []
    for folder, manifest in zip(folders, manifests, strict=True):
        metrics = dict(manifest["metrics"])
        name = manifest["name"]
        for target, key in ((scores, "scores"), (sampled, "scores_sampled"), (transfer, "transfer"), (tasks, "tasks")):
            if found := metrics.pop(key, None):
                target[name] = found
        model = folder / "model"
        stages.append(
            {
                "name": name,
                "kind": manifest["kind"],
                "seconds": manifest["seconds"],
                "model": str(model.relative_to(out)) if (model / "config.json").exists() else None,
                "metrics": metrics,
            }
        )
    known = out / "report.json"
    kept = read_json(known)["machine"] if known.exists() and not anew else None
    report = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "seconds": round(sum(s["seconds"] for s in stages), 2),
        "peak_rss_bytes": max(m["peak_rss_bytes"] for m in manifests),
        "machine": kept or {**describe_machine(), **manifests[0]["versions"]},
        "stages": stages,
        "scores": scores,
        "scores_sampled": sampled,
        "transfer": transfer,
        "tasks": tasks,  # of each kind, behind each column of the above
    }
    write_json(known, report)
    write_text(out / "report.html", render_report(report, folders))
    return report


def render_report(report: dict[str, Any], folders: list[Path]) -> str:
    """The HTML page of a report."""
    minutes = report["seconds"] / 60
    final = list(report["scores"].values())[-1] if report["scores"] else {}
    head = [
        ("mean held-out score", f"{final.get('mean', 0):.1%}"),
        ("whole run", f"{minutes:.1f} min"),
        ("peak memory", f"{report['peak_rss_bytes'] / 2**30:.2f} GB"),
        ("machine", f"{report['machine']['gemm_gflops']:.0f} GFLOP/s, {report['machine']['threads']} threads"),
        ("seed", str(report["seed"])),
    ]
    sections = [
        (
            "Scores by stage",
            f"Greedy share of held-out tasks solved; tasks of each kind: {_counts(report)}.",
            score_table(report["scores"]),
        ),
        (
            "How the mean grew",
            "Mean over all kinds after each stage.",
            bars({k: v["mean"] for k, v in report["scores"].items()}),
        ),
    ]
    other = {
        **{f"{k}, sampled": v for k, v in report["scores_sampled"].items()},
        **{f"{k}, transfer": v for k, v in report["transfer"].items()},
    }
    if other:
        note = "Sampled: the card's temperature 0.6, top-p 0.95. Transfer: wordings and ranges that training never used."
        sections.append(("Beyond greedy and held-out", note, score_table(other)))
    curves = "".join(_curve(f, s) for f, s in zip(folders, report["stages"], strict=True))
    sections.append(
        ("Curves", "Loss of the supervised stages, reward of the reinforcement stages.", f'<div class="grid">{curves}</div>')
    )
    sections.append(("Stages", "What each stage cost and measured.", _stage_table(report["stages"])))
    sections.append(
        ("The same questions, before and after", "First and last stage that answered them.", _samples(folders, report))
    )
    return page(f"telechat · {report['recipe']}", head, sections)


def _counts(report: dict[str, Any]) -> str:
    """How many tasks stand behind the stages' scores, stages of equal number together."""
    by_number: dict[int, list[str]] = {}
    for name in report["scores"]:
        by_number.setdefault(report["tasks"].get(name, {}).get("scores", 0), []).append(name)
    return "; ".join(f"{number} ({', '.join(names)})" for number, names in sorted(by_number.items(), reverse=True))


def _curve(folder: Path, stage: dict[str, Any]) -> str:
    file = folder / "metrics.jsonl"
    if not file.exists():
        return ""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    key = "reward" if rows and "reward" in rows[0] else "loss"
    values = [row[key] for row in rows if key in row]
    return line_chart(f"{stage['name']}: {key}", values) if len(values) > 1 else ""


def _stage_table(stages: list[dict[str, Any]]) -> str:
    rows = []
    for stage in stages:
        shown = {k: v for k, v in stage["metrics"].items() if not isinstance(v, dict)}
        nested = {
            k: v
            for k, v in stage["metrics"].items()
            if isinstance(v, dict) and k in ("bits_per_byte", "parents", "weights", "by_kind")
        }
        nested |= {f"trajectories of {kind}": counts for kind, counts in stage["metrics"].get("trajectories", {}).items()}
        text = ", ".join(f"{k} {_number(v)}" for k, v in shown.items())
        text += "".join(
            f"<br>{escape(k)}: " + ", ".join(f"{escape(n)} {_number(v)}" for n, v in d.items()) for k, d in nested.items()
        )
        rows.append([escape(stage["name"]), stage["kind"], f"{stage['seconds']:.0f} s", text])
    return table(["stage", "kind", "time", "measured"], rows)


def _number(value: Any) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else escape(str(value))


def _samples(folders: list[Path], report: dict[str, Any], per_kind: int = 1) -> str:
    """Questions that the first and the last judged stage both answered."""
    files = [f / "data" / "answers.jsonl" for f in folders if (f / "data" / "answers.jsonl").exists()]
    if len(files) < 2:
        return ""
    first, last = ({r["task"]: r for r in map(json.loads, f.read_text().splitlines())} for f in (files[0], files[-1]))
    rows: list[list[str]] = []
    seen: dict[str, int] = {}
    for task, after in last.items():
        before = first.get(task)
        if before is None or seen.get(after["kind"], 0) >= per_kind:
            continue
        seen[after["kind"]] = seen.get(after["kind"], 0) + 1
        question = "\n".join(m["content"] or "" for m in after["prompt"])
        rows.append([after["kind"], f"<pre>{escape(question)}</pre>", _answer(before), _answer(after)])
    return table(["kind", "question", "first", "last"], rows)


def _answer(row: dict[str, Any]) -> str:
    mark = "ok" if row["passed"] else "no"
    parts = []
    for message in row["messages"]:
        if message.get("reasoning_content"):
            parts.append(f'<span class="think">{escape(message["reasoning_content"])}</span>')
        for call in message.get("tool_calls", []):
            function = call["function"]
            arguments = escape(json.dumps(function["arguments"], ensure_ascii=False))
            parts.append(f'<span class="call">{escape(function["name"])}({arguments})</span>')
        if message.get("content"):
            name = "tool" if message["role"] == "tool" else "say"
            parts.append(f'<span class="{name}">{escape(message["content"])}</span>')
    return f'<div class="{mark}"><pre>' + "\n".join(parts)[:1500] + "</pre></div>"
