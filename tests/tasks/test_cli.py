"""`telechat tasks` and `telechat tasks check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from telechat.cli.tasks import command
from telechat.core.errors import UserError
from telechat.core.types import SPLITS, Message, Trajectory
from telechat.tasks.registry import KINDS, generate, verify

app = typer.Typer()
app.command("tasks")(command)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def in_format(message: Message) -> str:
    """A message as the telechat3-coder format has it, after the generation prompt."""
    calls = ""
    for call in message.tool_calls:
        values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in call.arguments.items()}
        pairs = "".join(f"<param_key>{k}</param_key><param_value>{v}</param_value>" for k, v in values.items())
        calls += f"<tool_call>{call.name}{pairs}</tool_call>"
    return f"{message.reasoning_content or ''}</think>{message.content or ''}{calls}"


def check(tmp_path: Path, *rows: object) -> list[dict]:
    file = tmp_path / "answers.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return json.loads(run("check", str(file), "--json"))["verdicts"]


def row(kind: str, answer: object, index: int = 0, split: str = "heldout") -> dict:
    return {"kind": kind, "split": split, "seed": 0, "index": index, "answer": answer}


def test_the_kinds_are_listed() -> None:
    assert json.loads(run("--json")) == {"kinds": list(KINDS)}
    lines = run().splitlines()
    assert [line.split()[0] for line in lines] == list(KINDS)


@pytest.mark.parametrize("split", SPLITS)
def test_tasks_are_shown(split: str) -> None:
    shown = json.loads(run("tool_lookup", "--split", split, "--count", "2", "--seed", "5", "--gold", "--json"))["tasks"]
    assert [set(task) for task in shown] == 2 * [
        {"id", "kind", "split", "seed", "index", "messages", "tools", "difficulty", "gold"}
    ]
    assert shown[1] == json.loads(json.dumps(generate("tool_lookup", split, 5, 1).to_dict(gold=True)))
    assert "gold" not in json.loads(run("addition", "--json"))["tasks"][0]
    assert "assistant: " in run("addition", "--gold")
    assert "assistant: " not in run("addition")


def test_text_answers_are_checked_in_the_order_given(tmp_path: Path) -> None:
    good = generate("addition", "heldout", 0, 0).gold[0].content
    assert [
        v["passed"]
        for v in check(tmp_path, row("addition", good), "", row("addition", ""), row("addition", f"thinking</think>{good}"))
    ] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("kind", list(KINDS))
def test_gold_answers_pass_as_text_and_as_messages(tmp_path: Path, kind: str) -> None:
    rows = []
    for index in range(5):
        task = generate(kind, "heldout", 0, index)
        rows.append(row(kind, [m.to_dict() for m in task.gold], index))
        if len(task.gold) == 1:
            rows.append(row(kind, in_format(task.gold[0]), index))
            rows.append(row(kind, in_format(task.paths[1][0]).removeprefix("</think>"), index))
            rows.append(row(kind, task.gold[0].to_dict(), index))
    verdicts = check(tmp_path, *rows)
    assert all(v == {"score": 1.0, "passed": True, "rules": v["rules"]} for v in verdicts)
    assert all(set(rule) == {"rule", "passed", "evidence"} for v in verdicts for rule in v["rules"])


def test_answers_do_not_name_code_to_run(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    name = "telechat.tasks.kinds.addition:Addition"
    file.write_text(json.dumps(row(name, "1", 0)) + "\n")
    with pytest.raises(UserError, match=f"allow it with --kind {name}"):
        run("check", str(file))
    assert run("check", str(file), "--kind", name).startswith("1\tfail")


def test_a_trajectory_is_judged_again(tmp_path: Path) -> None:
    task = generate("tool_lookup", "train", 3, 1)
    right = Trajectory(task.id, list(task.gold), [1, 2], [0, 1], [-0.25], verify(task, task.gold), 0.5)
    assert Trajectory.from_dict(json.loads(json.dumps(right.to_dict()))) == right
    wrong = {**right.to_dict(), "messages": [m.to_dict() for m in task.gold[:-1]]}
    file = tmp_path / "trajectories.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (right.to_dict(), wrong)))
    assert run("check", str(file)).splitlines()[-1] == "1 of 2 passed"
    for odd in ("tool_lookup/train/3", "tool_lookup/train/x/1", "", f"tool_lookup/train/1/{'9' * 50}"):
        file.write_text(json.dumps({**right.to_dict(), "task": odd}))
        with pytest.raises(UserError, match="kind/split/seed/index"):
            run("check", str(file))


def test_unfinished_answers_fail() -> None:
    task = generate("call_single", "heldout", 0, 0)
    whole = in_format(task.gold[0])
    assert verify(task, whole).passed
    assert not verify(task, whole.removesuffix("</tool_call>")).passed
    assert not verify(task, whole.partition("</think>")[0]).passed


def test_odd_answers_are_judged_and_not_refused(tmp_path: Path) -> None:
    odd = [None, "", "\ud800", "<tool_call>", "</think></think>", [], [{"role": "user", "content": "x"}]]
    for kind in ("addition", "call_single", "tool_calculator"):
        assert not any(v["passed"] for v in check(tmp_path, *(row(kind, answer) for answer in odd)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "answers.jsonl:2: not JSON"),
        ("[1]", "answers.jsonl:2: a line must be an object"),
        ('{"kind": "addition"}', "answers.jsonl:2: 'split' is missing"),
        (json.dumps({**row("addition", "1"), "seed": "0"}), "answers.jsonl:2: 'seed' must be a whole number"),
        (json.dumps({**row("addition", "1"), "index": True}), "answers.jsonl:2: 'index' must be a whole number"),
        (json.dumps(row("additon", "1")), "answers.jsonl:2: unknown task kind 'additon': did you mean addition"),
        (json.dumps(row("addition", "1", split="test")), "answers.jsonl:2: unknown split 'test'"),
        ('{"kind": "addition", "split": "dev", "seed": 0, "index": 0}', "answers.jsonl:2: 'answer' is missing"),
        (json.dumps(row("addition", 7)), "answers.jsonl:2: 'answer' must be text or a list"),
        (json.dumps(row("addition", [7])), "answers.jsonl:2: a message must be an object"),
        (json.dumps(row("addition", [{"role": "robot"}])), "answers.jsonl:2: unknown role"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        check(tmp_path, row("addition", "1"), line)


def test_bad_arguments_are_user_errors(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for arguments in (
        ("check",),
        ("check", str(tmp_path / "absent")),
        ("check", str(tmp_path)),
        ("check", str(tmp_path / "binary")),
        ("addition", "surplus"),
        ("addition", "--count", "0"),
        ("nonsense",),
        ("addition", "--split", "tarin"),
    ):
        with pytest.raises(UserError):
            run(*arguments)
