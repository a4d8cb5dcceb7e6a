"""The stairway: imports point downwards only, and what needs no model imports no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import telechat

ROOT = Path(telechat.__file__).parent
# From the top of the stairs to the bottom; modules of one step may import each other.
STAIRS = [
    ["cli"],
    ["bench", "doctor"],
    ["pipeline", "report", "report_html"],
    ["backends"],
    ["serve"],
    ["preflight"],
    ["evals"],
    ["envs"],
    ["train"],
    ["data"],
    ["engine"],
    ["machine"],
    ["tasks"],
    ["web"],
    ["sandbox"],
    ["models"],
    ["chat"],
    ["core"],
]
LEVEL = {name: i for i, names in enumerate(STAIRS) for name in names}


def imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.startswith("telechat.")]


def test_imports_point_downwards():
    upwards = []
    for file in ROOT.rglob("*.py"):
        room = file.relative_to(ROOT).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        upwards += [f"{file.relative_to(ROOT)} imports {n}" for n in imports(file) if LEVEL[n.split(".")[1]] < LEVEL[room]]
    assert upwards == []


def test_every_room_is_on_the_stairs():
    rooms = {p.name for p in ROOT.iterdir() if p.is_dir() and any(p.glob("*.py"))} | {p.stem for p in ROOT.glob("*.py")}
    assert rooms - {"__init__", "__main__"} == set(LEVEL)


def test_core_chat_tasks_sandbox_and_web_need_no_torch():
    modules = [
        ".".join(["telechat", *file.relative_to(ROOT).with_suffix("").parts])
        for room in ("core", "chat", "tasks", "sandbox", "web")
        for file in sorted((ROOT / room).rglob("*.py"))
        if file.name not in ("__init__.py", "server.py", "confine.py", "confined.py")
    ]
    code = "import importlib, sys\n" + "\n".join(f"importlib.import_module({m!r})" for m in modules)
    code += "\nassert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_and_functions_stay_readable():
    long = []
    for file in ROOT.rglob("*.py"):
        text = file.read_text()
        if text.count("\n") > 420:
            long.append(f"{file.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno > 64:
                long.append(f"{file.relative_to(ROOT)}:{node.name}: {node.end_lineno - node.lineno} lines")
    assert long == []
