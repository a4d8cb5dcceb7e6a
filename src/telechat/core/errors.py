"""Errors that a person can mend. Everything else is a bug and keeps its traceback."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: one line that says what is wrong, where, and how to mend it (exit status 2)."""


def one_line(message: object) -> str:
    """`message` on one line, so that an error printed to a terminal or a log stays one record."""
    return " ".join(str(message).split())
