"""Which tokens each KV slot holds, and who gets which slot: finished sequences stay as prefixes for later prompts.

Live rows occupy the first slots, because a step runs on a contiguous range of them; everything behind is *stale*:
finished sequences whose keys and values can still serve. A new prompt starts from the slot with the longest common
beginning (token by token, so there is no hash to collide): another turn of a conversation takes its slot over, prompts
that share a system block or tools copy them. What was used longest ago is overwritten first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SHORTEST = 8  # tokens that a common beginning must have to be worth a copy


@dataclass(frozen=True)
class Prefix:
    """The first `length` tokens of a prompt lie in `slot`; `whole` when the slot holds nothing else."""

    slot: int
    length: int
    whole: bool


@lru_cache(1024)
def salt_number(salt: str) -> int:
    """A number that nobody can make two salts share on purpose; 0 for none."""
    return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], signed=True) if salt else 0


class Slots:
    """The tokens whose keys and values each slot holds, and when each slot was last used."""

    def __init__(self) -> None:
        self.ids = np.full((0, 0), -1, dtype=np.int64)  # (slots, positions); -1 where nothing is held
        self.held = np.zeros(0, dtype=np.int64)
        self.used = np.zeros(0, dtype=np.int64)
        self.salts = np.zeros(0, dtype=np.int64)  # whose it is; see `salt_number`
        self._clock = 0

    def resize(self, slots: int, positions: int) -> None:
        """Have `slots` slots of `positions`; what fits of the old ones' content stays."""
        if (slots, positions) == self.ids.shape:
            return
        ids = np.full((slots, positions), -1, dtype=np.int64)
        held, used, salts = (np.zeros(slots, dtype=np.int64) for _ in range(3))
        rows, known = min(slots, self.ids.shape[0]), min(positions, self.ids.shape[1])
        ids[:rows, :known] = self.ids[:rows, :known]
        held[:rows], used[:rows] = np.minimum(self.held[:rows], known), self.used[:rows]
        salts[:rows] = self.salts[:rows]
        self.ids, self.held, self.used, self.salts = ids, held, used, salts

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self.ids[:] = -1
        self.held[:] = 0
        self.used[:] = 0

    def put(self, slot: int, ids: Sequence[int], salt: str = "") -> None:
        """Slot now holds the keys of `ids`, for requests of this salt."""
        self._clock += 1
        self.ids[slot, : len(ids)] = ids
        self.ids[slot, len(ids) :] = -1
        self.held[slot] = len(ids)
        self.used[slot] = self._clock
        self.salts[slot] = salt_number(salt)

    def match(self, prompt: Sequence[int], salt: str = "") -> Prefix | None:
        """The longest beginning of `prompt` in any slot of this salt, its last token excluded (one must be left to
        compute)."""
        size = min(len(prompt) - 1, self.ids.shape[1])
        if size < SHORTEST or not len(self.held):
            return None
        fitting = (self.ids[:, SHORTEST - 1] == prompt[SHORTEST - 1]) & (self.salts == salt_number(salt))
        candidates = np.flatnonzero(fitting)
        if not len(candidates):
            return None
        equal = self.ids[candidates, :size] == np.asarray(prompt[:size])
        lengths = np.where(equal.all(1), size, equal.argmin(1))
        best = int(lengths.argmax())
        slot, length = int(candidates[best]), int(lengths[best])
        return Prefix(slot, length, length == self.held[slot]) if length >= SHORTEST else None

    def place(
        self, first: int, total: int, prefixes: Sequence[Prefix | None], slots: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Give `total` slots from `first` on to new rows, prefix i to `slots[i]` of them; returns the moves to make.

        A move copies slot source[k] into slot target[k], all of them read before any is written. Stale contents that
        are worth more than others move out of the way.
        """
        taken = {p.slot for p in prefixes if p is not None and p.whole and p.slot >= first}
        stale = [int(s) for s in first + np.argsort(self.used[first:], kind="stable") if int(s) not in taken]
        freed = taken | set(stale[: total - len(taken)])
        wanted = range(first, first + total)
        source = [slot for slot in wanted if slot not in freed]
        target = [slot for slot in sorted(freed) if slot not in wanted]
        for prefix, slot in zip(prefixes, slots, strict=True):
            if prefix is not None:
                source.append(prefix.slot)
                target.append(slot)
        self.moved(source, target)
        return source, target

    def moved(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Slots `source` were copied into slots `target`."""
        for values in (self.ids, self.held, self.used, self.salts):
            values[list(target)] = values[list(source)]
