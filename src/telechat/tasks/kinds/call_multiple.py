"""Two or three tools are offered and the user's wish needs one of them."""

from __future__ import annotations

import random

from telechat.tasks.base import Draft
from telechat.tasks.calling import CallKind, draw_single


class CallMultiple(CallKind):
    """One call of the right tool, with values from the prompt."""

    name = "call_multiple"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """Two or three tools and a wish for one of them."""
        return draw_single(rng, transfer, rng.choice((2, 3)))
