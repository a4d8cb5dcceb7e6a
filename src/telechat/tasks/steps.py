"""Worked arithmetic, written so that every token depends on few tokens at fixed distances.

One notation for all three operations: columns from the right, and after each `=` exactly two digits: what is
carried (or borrowed) into the next column, and the digit of the result. `5+8=13` says "carry 1, digit 3";
`2-8=14` says "borrow 1, digit 4" (12 − 8 = 4); a column without a carry writes the 0: `2+4=06`. So addition,
subtraction and multiplication differ in one table only, the carry is always copied from the same distance, and
the answer is the last two digits followed by the second digits of the earlier columns, without leading zeros.
Writing the borrowed ten into the minuend (`12-8=4`) needs the comparison before the operands are on the page.
"""

from __future__ import annotations


def _digits(number: int, width: int) -> list[int]:
    """The last `width` digits of `number`, units first."""
    return [number // 10**place % 10 for place in range(width)]


def column_add(a: int, b: int) -> str:
    """`345+678` → `5+8=13 4+7+1=12 3+6+1=10`."""
    width = max(len(str(a)), len(str(b)))
    steps, carry = [], 0
    for place, (x, y) in enumerate(zip(_digits(a, width), _digits(b, width), strict=True)):
        total = x + y + carry
        steps.append(f"{x}+{y}{f'+{carry}' if place else ''}={total:02d}")
        carry = total // 10
    return " ".join(steps)


def column_sub(a: int, b: int) -> str:
    """`632-478` → `2-8=14 3-7-1=15 6-4-1=01` for a ≥ b ≥ 0."""
    width = len(str(a))
    steps, borrow = [], 0
    for place, (x, y) in enumerate(zip(_digits(a, width), _digits(b, width), strict=True)):
        rest = x - y - borrow
        steps.append(f"{x}-{y}{f'-{borrow}' if place else ''}={int(rest < 0)}{rest % 10}")
        borrow = int(rest < 0)
    return " ".join(steps)


def column_mul(a: int, b: int) -> str:
    """`47*6` → `7*6=42 4*6=24+4=28` for a one-digit b: the product of a column, and then what is carried into it."""
    steps, carry = [], 0
    for place, x in enumerate(_digits(a, len(str(a)))):
        total = x * b + carry
        steps.append(f"{x}*{b}={x * b:02d}{f'+{carry}={total:02d}' if place else ''}")
        carry = total // 10
    return " ".join(steps)


def carries(worked: str) -> int:
    """How many columns of a worked path carry or borrow."""
    return sum(step.rpartition("=")[2][0] != "0" for step in worked.split())
