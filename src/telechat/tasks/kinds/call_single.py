"""One tool is offered and the user's wish needs it."""

from __future__ import annotations

import random

from telechat.tasks.base import Draft
from telechat.tasks.calling import CallKind, draw_single


class CallSingle(CallKind):
    """One call of the one tool, with values from the prompt."""

    name = "call_single"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """One tool and a wish for it."""
        return draw_single(rng, transfer, 1)
