"""Randomness that depends on names and numbers only: never on time, on hash seeds or on a global generator."""

from __future__ import annotations

import hashlib
import random


def seed_of(*parts: object) -> int:
    """A 64-bit seed that is a function of `parts` (their `str`), stable across runs and Python versions."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def rng(*parts: object) -> random.Random:
    """A private `random.Random` seeded by `parts`."""
    return random.Random(seed_of(*parts))


def shuffled(items: list, *parts: object) -> list:
    """A copy of `items` in an order that is a function of `parts`."""
    out = list(items)
    rng("shuffle", *parts).shuffle(out)
    return out
