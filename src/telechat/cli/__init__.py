"""The `telechat` command: one file per subcommand; parses, calls, prints, and holds no logic.

A subcommand's module is imported only when it is used or listed, and its heavy imports happen inside its function,
so that `--help` and the commands that need no model answer at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any

# command → (module, what it does)
COMMANDS: dict[str, str] = {
    "quickstart": "telechat.cli.quickstart",
    "run": "telechat.cli.run",
    "chat": "telechat.cli.chat",
    "serve": "telechat.cli.serve",
    "watch": "telechat.cli.watch",
    "pull": "telechat.cli.pull",
    "render": "telechat.cli.render",
    "parse": "telechat.cli.parse",
    "tasks": "telechat.cli.tasks",
    "web": "telechat.cli.web",
    "bench": "telechat.cli.bench",
    "doctor": "telechat.cli.doctor",
}


# A full disk, a folder without rights: not our fault, and nothing that a traceback would explain.
_OF_THE_MACHINE = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
    errno.EMFILE, errno.ELOOP, errno.EXDEV, errno.ENOTEMPTY,
)  # fmt: skip


def _app(names: list[str]) -> Any:
    import typer

    app = typer.Typer(
        name="telechat",
        help="The whole life of a TeleChat model: data, training, RL, agents, evaluation, serving.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def root() -> None:
        """The whole life of a TeleChat model: data, training, RL, agents, evaluation, serving."""

    for name in names:
        app.command(name)(importlib.import_module(COMMANDS[name]).command)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 0, with 2 on bad input (one line on stderr), with 130 on Ctrl-C."""
    from telechat.core.errors import UserError, one_line

    given = sys.argv[1:] if arguments is None else arguments
    first = next((a for a in given if not a.startswith("-")), None)
    try:
        if first is not None and first not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(first, COMMANDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(COMMANDS)}"
            raise UserError(f"unknown command {first!r}; {hint}")
        _call(_app([first] if first else list(COMMANDS)), given)
    except UserError as error:
        _fail(one_line(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        _fail(": ".join(one_line(part) for part in (error.filename, error.strerror) if part))
    except KeyboardInterrupt:
        print("\ninterrupted; nothing that was finished is lost", file=sys.stderr)
        sys.exit(130)


def _call(app: Any, given: list[str]) -> None:
    """Run `app`; a usage error becomes one line."""
    import typer.main

    command = typer.main.get_command(app)
    try:
        result = command.main(args=given, prog_name="telechat", standalone_mode=False)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # a usage error of the parser
            _fail(" ".join(error.format_message().split()) + "; see telechat --help")
        if type(error).__name__ == "Abort":
            sys.exit(130)
        raise
    if isinstance(result, int) and result:
        sys.exit(result)


def _fail(message: str) -> None:
    print(f"telechat: {message}", file=sys.stderr)
    sys.exit(2)
