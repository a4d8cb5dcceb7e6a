"""`telechat tasks`: look at the task kinds, and check answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from telechat.core.types import Message, Task

_KIND = typer.Argument(help="A task kind, module:function, or `check` to check answers.", show_default=False)
_FILE = typer.Argument(
    help='With `check`: lines of {"kind", "split", "seed", "index", "answer"}, or a run\'s trajectories; - reads stdin.',
    show_default=False,
)
_OWN = "With `check`: a kind of your own (module:function) that the file may name."


def command(
    kind: Annotated[Optional[str], _KIND] = None,  # noqa: UP045 (typer reads it at run time)
    file: Annotated[Optional[Path], _FILE] = None,  # noqa: UP045
    split: Annotated[str, typer.Option(help="train, dev, heldout or transfer.")] = "heldout",
    count: Annotated[int, typer.Option(help="How many tasks.")] = 3,
    seed: Annotated[int, typer.Option(help="Which sequence of tasks.")] = 0,
    gold: Annotated[bool, typer.Option("--gold", help="Add a right answer to each.")] = False,
    kinds: Annotated[Optional[list[str]], typer.Option("--kind", help=_OWN)] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List the task kinds, show tasks of one, or check answers: telechat tasks check ANSWERS.jsonl."""
    from telechat.core.errors import UserError
    from telechat.core.own import code_beside

    code_beside()
    if kind == "check":
        if file is None:
            raise UserError("telechat tasks check: name the file of answers, or - for stdin")
        _check(file, kinds or [], as_json)
        return
    if file is not None:
        raise UserError(f"unexpected argument {str(file)!r}: use telechat tasks KIND, or telechat tasks check FILE")
    if count < 1:
        raise UserError(f"--count {count}: at least 1 is needed")
    if kind is None:
        _list(as_json)
    else:
        _show(kind, split, count, seed, gold, as_json)


def _list(as_json: bool) -> None:
    from telechat.tasks.registry import KINDS, get_kind

    if as_json:
        _print_json({"kinds": list(KINDS)})
        return
    for name in KINDS:
        kind = get_kind(name)
        title = (sys.modules[type(kind).__module__].__doc__ or "").split("\n")[0]
        typer.echo(f"{name:<18}{kind.group:<9}{title}")


def _show(kind: str, split: str, count: int, seed: int, gold: bool, as_json: bool) -> None:
    from telechat.tasks.registry import generate

    tasks = [generate(kind, split, seed, index) for index in range(count)]
    if as_json:
        _print_json({"tasks": [task.to_dict(gold=gold) for task in tasks]})
        return
    for task in tasks:
        typer.echo(f"# {task.id}  difficulty {task.difficulty:.2f}")
        for tool in task.tools:
            typer.echo(f"tool {json.dumps(tool['function'], ensure_ascii=False)}")
        for message in (*task.messages, *(task.gold if gold else ())):
            typer.echo(_readable(message))
        typer.echo("")


def _readable(message: Message) -> str:
    lines = [] if message.reasoning_content is None else [f"{message.role} thinks: {message.reasoning_content}"]
    if message.content is not None:
        lines.append(f"{message.role}: {message.content}")
    lines += [f"{message.role} calls: {c.name} {json.dumps(c.arguments, ensure_ascii=False)}" for c in message.tool_calls]
    return "\n".join(lines)


def _check(file: Path, own: list[str], as_json: bool) -> None:
    from telechat.tasks.registry import verify

    answers = [_read(row, where, own) for where, row in _rows(file)]
    verdicts = [verify(task, answer) for task, answer in answers]
    if as_json:
        _print_json({"verdicts": [verdict.to_dict() for verdict in verdicts]})
        return
    for number, verdict in enumerate(verdicts, 1):
        failed = "; ".join(f"{rule.rule}: {rule.evidence}" for rule in verdict.rules if not rule.passed)
        _print(f"{number}\t{'pass' if verdict.passed else 'fail'}\t{' '.join(failed.split())}")
    typer.echo(f"{sum(verdict.passed for verdict in verdicts)} of {len(verdicts)} passed")


def _rows(file: Path) -> list[tuple[str, Any]]:
    """Every line with its place; a line that is not JSON is named."""
    from telechat.core.errors import UserError

    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append((f"{file}:{number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{file}:{number}: not JSON: {error}") from None
    return rows


def _read(row: Any, where: str, own: list[str]) -> tuple[Task, str | list[Message]]:
    """The task that a line is about, and its answer."""
    from telechat.core.errors import UserError
    from telechat.tasks.registry import generate

    if not isinstance(row, dict):
        raise UserError(f'{where}: a line must be an object with "kind", "split", "seed", "index" and "answer"')
    if isinstance(row.get("task"), str) and "messages" in row:  # a trajectory of a run
        row = _of_a_trajectory(row, where)
    for key, expected, word in (
        ("kind", str, "text"),
        ("split", str, "text"),
        ("seed", int, "a whole number"),
        ("index", int, "a whole number"),
    ):
        if type(row.get(key)) is not expected:
            raise UserError(f"{where}: {key!r} is missing" if key not in row else f"{where}: {key!r} must be {word}")
    if ":" in row["kind"] and row["kind"] not in own:  # answers are data: what they name is not simply imported and called
        raise UserError(f"{where}: {row['kind']!r} is code of your own; allow it with --kind {row['kind']}")
    if "answer" not in row:
        raise UserError(f"{where}: 'answer' is missing: give text or a list of messages")
    try:
        task = generate(row["kind"], row["split"], row["seed"], row["index"])
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return task, _answer(row["answer"], where)


def _of_a_trajectory(row: dict, where: str) -> dict:
    from telechat.core.errors import UserError

    kind, _, numbers = row["task"].partition("/")
    split, _, numbers = numbers.partition("/")
    seed, _, index = numbers.partition("/")
    if not (seed.isascii() and seed.isdigit() and index.isascii() and index.isdigit()) or len(numbers) > 40:
        raise UserError(f"{where}: 'task' must be kind/split/seed/index, not {row['task'][:80]!r}")
    return {"kind": kind, "split": split, "seed": int(seed), "index": int(index), "answer": row["messages"]}


def _answer(answer: Any, where: str) -> str | list[Message]:
    from telechat.core.errors import UserError
    from telechat.core.types import Message

    if answer is None or isinstance(answer, str):
        return answer or ""
    if isinstance(answer, dict):
        answer = [answer]
    if not isinstance(answer, list):
        raise UserError(f"{where}: 'answer' must be text or a list of messages, not {type(answer).__name__}")
    try:
        return [Message.from_dict(message) for message in answer]
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _print_json(value: Any) -> None:
    _print(json.dumps(value, ensure_ascii=False))


def _print(text: str) -> None:
    """A line on stdout; half a surrogate pair, which no encoding has, becomes a question mark."""
    typer.echo(text.encode("utf-8", "replace").decode())
