"""The rows that are being decoded: what each is doing, their next tokens, and the batch's sampling state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from telechat.engine.params import Completion, Constraint, Request, SamplingParams
from telechat.engine.runner import Runner
from telechat.engine.sampler import History, Penalties, RowParams, sample


@dataclass
class Work:
    """Samples of one request that wait for slots; `ids` is what has to be computed before they go on: the prompt, and
    what a pre-empted sample had generated."""

    request: Request
    samples: list[int]
    ids: list[int]

    def need(self, reserve: int) -> int:
        """Positions that a slot must have: `ids`, and `reserve` tokens of the answer at most."""
        left = max(self.request.params[s].max_tokens - len(self.request.completions[s].ids) for s in self.samples)
        return len(self.ids) + min(left, reserve)


@dataclass(eq=False)
class Row:
    """A sequence in a slot. `length` tokens of it have their keys there; `token`, sampled last, has not yet."""

    request: Request
    sample: int
    length: int = 0
    token: int = 0
    ready: bool = False
    done: bool = False

    @property
    def completion(self) -> Completion:
        """What it has generated."""
        return self.request.completions[self.sample]

    @property
    def params(self) -> SamplingParams:
        """How it is sampled."""
        return self.request.params[self.sample]

    @property
    def constraint(self) -> Constraint | None:
        """What it may say."""
        return self.request.constraints[self.sample]

    @property
    def ids(self) -> list[int]:
        """Prompt and completion."""
        return [*self.request.prompt, *self.completion.ids]

    def finish(self, reason: str) -> None:
        """It is over."""
        self.done = True
        self.completion.finish = reason
        self.request.open -= 1


class Rows:
    """Row i lives in slot i. Finished rows stay until `compact`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._rows: list[Row] = []
        self._forget()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def index(self, row: Row) -> int:
        """The slot of `row`."""
        return self._rows.index(row)

    @property
    def live(self) -> int:
        """Rows that are not finished."""
        return sum(not row.done for row in self._rows)

    @property
    def active(self) -> bool:
        """Whether any row waits for its next token."""
        return any(row.ready and not row.done for row in self._rows)

    @property
    def finished_share(self) -> float:
        """Share of the rows that have finished."""
        return 1 - self.live / len(self._rows) if self._rows else 0.0

    def extend(self, rows: Sequence[Row]) -> None:
        """New rows behind the others."""
        self._rows += rows
        self._forget()

    def compact(self) -> tuple[list[int], list[int], int]:
        """Keep live rows only, in the first slots. Returns the exchange of slots that this is, as source and target
        slots, and how many positions of them matter."""
        rows, live = self._rows, self.live
        holes = [i for i in range(live) if rows[i].done]
        tail = [i for i in range(live, len(rows)) if not rows[i].done]
        length = max((rows[i].length for i in (*tail, *holes)), default=0)
        for source, target in zip(tail, holes, strict=True):
            rows[target] = rows[source]
        del rows[live:]
        self._forget()
        return [*tail, *holes], [*holes, *tail], length

    def _forget(self) -> None:
        """The batch has changed."""
        self._params: RowParams | None = None
        self._penalties: Penalties | None = None

    def decode(self) -> list[tuple[Request, int, int]]:
        """One more token for every row that is ready."""
        rows = self._rows
        logits = self._runner.decode([row.token for row in rows], [row.length for row in rows])
        for row in rows:
            if row.ready and not row.done:
                row.length += 1
        if self._params is None:
            self._params, self._penalties = self._state(rows, logits.shape[-1])
        return self._sample(rows, logits, self._params, self._penalties)

    def sample_new(self, rows: Sequence[Row], logits: torch.Tensor) -> list[tuple[Request, int, int]]:
        """The first token of rows that have just been computed; `logits` (rows, vocabulary)."""
        return self._sample(rows, logits, *self._state(rows, logits.shape[-1]))

    def _state(self, rows: Sequence[Row], vocabulary: int) -> tuple[RowParams, Penalties | None]:
        device = self._runner.device
        params = RowParams([row.params for row in rows], device)
        if not any(row.params.changes_logits for row in rows):
            return params, None
        histories = [History(row.params, row.request.prompt, row.completion.ids) for row in rows]
        return params, Penalties(histories, vocabulary, device)

    def _sample(
        self, rows: Sequence[Row], logits: torch.Tensor, params: RowParams, penalties: Penalties | None
    ) -> list[tuple[Request, int, int]]:
        adjusted = None if penalties is None else penalties.apply(logits)
        adjusted = _constrained(rows, logits, adjusted)
        positions = torch.tensor([len(row.completion.ids) for row in rows], device=logits.device)
        ids, logprobs, all_logprobs = sample(logits, params, positions, adjusted)
        if penalties is not None:
            penalties.add(ids)
        if params.top_logprobs:
            _keep_top(rows, all_logprobs)
        events = []
        for row, token, logprob in zip(rows, ids.tolist(), logprobs.tolist(), strict=True):
            if row.done or not row.ready:
                continue
            completion = row.completion
            completion.ids.append(token)
            completion.logprobs.append(logprob)
            row.token = token
            events.append((row.request, row.sample, token))
            if row.constraint is not None:
                row.constraint.accept(token)
            if token in row.params.stop_ids:
                row.finish("length" if row.constraint is not None and row.constraint.broken else "stop")
            elif len(completion.ids) >= row.params.max_tokens:
                row.finish("length")
        return events


def _constrained(rows: Sequence[Row], logits: torch.Tensor, adjusted: torch.Tensor | None) -> torch.Tensor | None:
    """The logits with what constraints forbid at minus infinity."""
    for i, row in enumerate(rows):
        if row.constraint is None or row.done or not row.ready:
            continue
        allowed = row.constraint.allowed()
        if allowed is None:
            continue
        if adjusted is None:
            adjusted = logits.float().clone()
        forbidden = torch.ones(adjusted.shape[-1], dtype=torch.bool, device=adjusted.device)
        size = min(len(allowed), len(forbidden))
        forbidden[:size] = ~allowed[:size].to(adjusted.device)
        adjusted[i].masked_fill_(forbidden, -torch.inf)
    return adjusted


def _keep_top(rows: Sequence[Row], logprobs: torch.Tensor) -> None:
    """Note the likeliest tokens of the rows that want them."""
    count = min(max(row.params.top_logprobs for row in rows), logprobs.shape[-1])
    values, ids = logprobs.topk(count)
    for row, mine, tokens in zip(rows, values.tolist(), ids.tolist(), strict=True):
        wanted = row.params.top_logprobs
        if wanted and row.ready and not row.done:
            row.completion.top.append(list(zip(tokens[:wanted], mine[:wanted], strict=True)))
