"""Constraints: a grammar that holds from the end of the thinking on, and a bound on the thinking itself.

Grammars run on llguidance (`pip install 'telechat[structured]'`), which computes which tokens may come next.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

import torch

from telechat.core.errors import UserError

_WHOLE = ("EndOfSentence", "NoExtension", "NoExtensionBias")
"""Why llguidance stops where all has been said; its other reasons are limits that it met."""
MAX_GRAMMAR = 1 << 20  # characters of a grammar: a request is not a program


class Grammars:
    """Compiles grammars for one tokenizer; what has been compiled is kept (the 64 used last)."""

    def __init__(self, tokenizer: Any, vocabulary: int, end_ids: Collection[int]) -> None:
        self.vocabulary = vocabulary
        self.end_ids = tuple(sorted(end_ids))
        self._tokenizer = tokenizer
        self._checked = functools.lru_cache(64)(self._check)

    @functools.cached_property
    def _reader(self) -> Any:
        """The vocabulary as llguidance reads it; takes about a second for 131,072 pieces."""
        try:
            from llguidance import hf
        except ImportError:
            raise UserError("a grammar needs llguidance: pip install 'telechat[structured]'") from None
        return hf.from_tokenizer(self._tokenizer, n_vocab=self.vocabulary, eos_token=list(self.end_ids))

    def _check(self, grammar: str) -> str:
        """The grammar as llguidance wants it; raises `UserError` with its complaint."""
        reader = self._reader
        from llguidance import LLMatcher

        if len(grammar) > MAX_GRAMMAR:
            raise UserError(f"the grammar is longer than {MAX_GRAMMAR} characters")
        compiled = str(LLMatcher.grammar_from_lark(grammar))
        problem = LLMatcher.validate_grammar(compiled, reader)
        if problem:
            raise UserError(_first_line(problem))
        return compiled

    def check(self, grammar: str) -> None:
        """Raise `UserError` when `grammar` (Lark) cannot be used."""
        self._checked(grammar)

    def matcher(self, grammar: str) -> Any:
        """A fresh matcher for one completion."""
        from llguidance import LLMatcher

        return LLMatcher(self._reader, self._checked(grammar), log_level=0)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else "cannot be used"


class Guided:
    """A `Constraint`: thinking of at most `budget` tokens, then what `matcher` allows.

    `think_end` is the id that ends the thinking, None for a model that does not think. A model whose prompt does not
    open the thinking may do so itself, with `think_start` as its first token. While it thinks the model may not end its
    turn: the constrained part would never come.
    """

    def __init__(
        self,
        matcher: Any,
        vocabulary: int,
        end_ids: Collection[int],
        think_end: int | None,
        budget: int | None = None,
        think_start: int | None = None,
    ) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._ends = torch.tensor(sorted(end_ids), dtype=torch.long)
        self._think_end = think_end
        self._think_start = think_start  # None once the first token has been chosen
        self._thinking = think_end is not None and think_start is None
        self._budget = budget
        self._thought = 0
        self._open: torch.Tensor | None = None
        self.broken = False

    def allowed(self) -> torch.Tensor | None:
        """See `Constraint`."""
        if self._thinking and self._think_end is not None:
            if self._budget is not None and self._thought >= self._budget:
                return self._only([self._think_end])
            return self._unended() if self._matcher is not None else None
        if self._think_start is not None:
            return self._first(self._think_start)
        return self._answer()

    def _first(self, think_start: int) -> torch.Tensor | None:
        """What may come first: the answer, or thinking if it may have any tokens."""
        may_think = self._budget != 0
        mask = self._answer()
        if mask is None and may_think:
            return None
        mask = torch.ones(self._vocabulary, dtype=torch.bool) if mask is None else mask
        mask[think_start] = may_think
        return mask

    def _answer(self) -> torch.Tensor | None:
        if self._matcher is None:
            return None
        if self._matcher.is_stopped():
            whole = not self._matcher.is_error() and self._matcher.stop_reason() in _WHOLE
            return self._only(self._ends.tolist()) if whole else self._give_up()
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        if self._matcher.is_error():  # it ends the turn in its mask then, as if all were said
            return self._give_up()
        mask = (bits[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten().bool()[: self._vocabulary]
        return mask if mask.any() else self._give_up()

    def accept(self, token: int) -> None:
        """See `Constraint`."""
        opened, self._think_start = token == self._think_start, None
        if opened:
            self._thinking = True
        elif self._thinking:
            self._thinking = token != self._think_end
            self._thought += 1
        elif self._matcher is not None and not self._matcher.is_stopped():
            self._matcher.consume_token(token)

    def _give_up(self) -> torch.Tensor:
        """The grammar engine met a limit of its own, or a text that cannot go on: the answer ends unfinished."""
        self.broken = True
        return self._only(self._ends.tolist())

    def _only(self, ids: list[int]) -> torch.Tensor:
        mask = torch.zeros(self._vocabulary, dtype=torch.bool)
        mask[ids] = True
        return mask

    def _unended(self) -> torch.Tensor:
        if self._open is None:
            self._open = torch.ones(self._vocabulary, dtype=torch.bool)
            self._open[self._ends] = False
        return self._open
