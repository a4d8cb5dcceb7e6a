"""A stage's training tokens: documents of several sources, interleaved by their shares, cut into rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from telechat.core.files import atomic_open, read_json, write_json, write_jsonl
from telechat.data.corpora import Document, documents

WRITTEN, BEGINS = 1, 2  # bits of a token's mark

# Document → token ids, and for each whether the model writes it (1) or only reads it (0)
Encode = Callable[[Document], tuple[list[int], list[int]]]


def fill(
    mixture: dict[str, float], tokens: int, part: str, seed: int, kinds: tuple[str, ...], encode: Encode
) -> tuple[list[int], list[int], list[dict]]:
    """At least `tokens` ids from the sources of `mixture` in proportion to their shares, a mark for each (0 the model
    only reads it, 1 it writes it, plus 2 where a document begins), and a row for each document.

    The next document always comes from the source that is furthest behind its share, so that every stretch of the
    stream is mixed alike.
    """
    whole = sum(mixture.values())
    streams = {name: documents(name, part, seed, kinds) for name in mixture}
    emitted = dict.fromkeys(mixture, 0)
    ids: list[int] = []
    marks: list[int] = []
    rows: list[dict] = []
    while len(ids) < tokens:
        name = max(mixture, key=lambda n: mixture[n] / whole * (len(ids) + 1) - emitted[n])
        document = next(streams[name])
        encoded, mask = encode(document)
        emitted[name] += len(encoded)
        ids += encoded
        marks += [mask[0] + BEGINS, *mask[1:]]
        rows.append(
            {"source": name, "tokens": len(encoded), "certified": document.certified, "difficulty": document.difficulty()}
        )
    return ids, marks, rows


def stage_rows(
    folder: Path,
    mixture: dict[str, float],
    rows: int,
    context: int,
    seed: int,
    kinds: tuple[str, ...],
    encode: Encode,
) -> tuple[np.ndarray, np.ndarray, dict]:
    """(rows, context + 1) token ids of a stage, their marks (see `fill`), and facts about the data; made once, then
    read from `folder`.

    Each row's last token is the next row's first, so that every token is predicted once.
    """
    data, facts = folder / "tokens.npy", folder / "facts.json"
    if data.exists() and facts.exists():
        tables = np.load(data, allow_pickle=False)
        return tables[0], tables[1], read_json(facts)
    ids, marks, made = fill(mixture, rows * context + 1, "train", seed, kinds, encode)
    array = np.asarray([ids[: rows * context + 1], marks[: rows * context + 1]], dtype=np.uint32)
    tables = np.stack([array[:, i * context : (i + 1) * context + 1] for i in range(rows)], axis=1)
    found = describe(made)
    shown = [_sample(name, seed, kinds) for name in mixture]
    write_jsonl(folder / "documents.jsonl", [row for rows_ in shown for row in rows_])
    buffer = io.BytesIO()
    np.save(buffer, tables)
    with atomic_open(data) as file:
        file.write(buffer.getvalue())
    write_json(facts, found)
    return tables[0], tables[1], found


def describe(made: list[dict]) -> dict:
    """Tokens, documents, difficulty and quality of a stage's data.

    Difficulty is the mean of `Document.difficulty`, weighted by tokens. Quality is the share of tokens in
    documents that a program has checked (code that compiles, tasks whose verifier accepts the answer, sentences made
    from the fact table).
    """
    tokens: dict[str, int] = {}
    for row in made:
        tokens[row["source"]] = tokens.get(row["source"], 0) + row["tokens"]
    total = sum(tokens.values())
    certified = sum(row["tokens"] for row in made if row["certified"])
    difficulty = sum(row["tokens"] * row["difficulty"] for row in made)
    return {
        "documents": len(made),
        "tokens": total,
        "by_source": tokens,
        "difficulty": round(difficulty / total, 4),
        "quality": round(certified / total, 4),
    }


def _sample(source: str, seed: int, kinds: tuple[str, ...], count: int = 8) -> list[dict]:
    """The first documents of a source, for people to read."""
    stream = documents(source, "train", seed, kinds)
    out = []
    for _ in range(count):
        document = next(stream)
        row = {"source": source, "text": document.text}
        if document.task is not None:
            row["text"] = json.dumps([m.to_dict() for m in (*document.task.messages, *document.path)], ensure_ascii=False)
        out.append(row)
    return out
