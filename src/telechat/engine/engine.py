"""Who runs when: continuous batching over fixed KV slots.

Requests wait in a queue; a prompt is computed once and its keys and values are copied to all of its samples, and what
a slot already holds of its beginning is not computed at all (`slots.py`). Finished rows stay in the batch, ignored,
until enough of them have gathered; then all holes are filled at once from the end (closing them one by one halves the
speed, see `docs/log.md`).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from telechat.core.errors import UserError
from telechat.engine.params import Completion, Request, SamplingParams
from telechat.engine.runner import Runner
from telechat.engine.sampler import RowParams, sample
from telechat.engine.slots import Prefix, Slots

PREFILL_TOKENS = 4096  # padded tokens in one prefill batch: enough for matrix speed, little enough to keep decoding fair
COMPACT_SHARE = 0.3  # close holes when this share of the batch has finished


@dataclass
class _Row:
    """A live sequence in a slot."""

    request: Request
    sample: int
    params: SamplingParams
    length: int  # tokens whose keys are in the slot
    token: int  # the last sampled token, not yet in the slot
    done: bool = False

    @property
    def completion(self) -> Completion:
        return self.request.completions[self.sample]


class Engine:
    """Generates with `model`; `slots` rows at most decode together."""

    def __init__(self, model: Any, slots: int = 64, max_len: int | None = None) -> None:
        self.runner = Runner(model)
        self.slots = slots
        self.held = Slots()
        self.max_len = min(max_len or self.runner.max_positions, self.runner.max_positions)
        self.waiting: deque[Request] = deque()
        self.rows: list[_Row] = []
        self._ids = itertools.count()
        self._params: RowParams | None = None
        self.generated_tokens = 0
        self.reused_tokens = 0  # of prompts, found in a slot

    def refresh(self) -> None:
        """Take the model's present weights; only between requests, since cached keys belong to the old ones."""
        if self.rows:
            raise RuntimeError("the engine is still generating")
        self.runner.refresh()
        self.held.clear()

    def add(self, prompt: Sequence[int], params: Sequence[SamplingParams]) -> Request:
        """Queue one prompt with one completion for each of `params`; raises `UserError` when it cannot fit."""
        if not prompt:
            raise UserError("the prompt is empty")
        if len(params) > self.slots:
            raise UserError(f"{len(params)} samples of one prompt were asked for; this engine has {self.slots} slots")
        room = self.max_len - len(prompt)
        if room < 1:
            raise UserError(f"the prompt has {len(prompt)} tokens; this model's context ends at {self.max_len}")
        fitted = [p if p.max_tokens <= room else replace(p, max_tokens=room) for p in params]
        request = Request(next(self._ids), list(prompt), fitted, [Completion() for _ in fitted], len(fitted))
        self.waiting.append(request)
        return request

    def cancel(self, request: Request) -> None:
        """Stop `request` before the next step; what it has generated stays in its completions."""
        request.cancelled = True

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self.rows and not self.waiting

    def step(self) -> list[tuple[Request, int, int]]:
        """One scheduling step: admit what fits, then decode one token for every live row.

        Returns (request, sample, token) for every token sampled in this step.
        """
        self._drop_cancelled()
        live = sum(not row.done for row in self.rows)
        if self.rows and live <= len(self.rows) * (1 - COMPACT_SHARE):
            self._compact()
        events: list[tuple[Request, int, int]] = []
        if self.waiting and (not self.rows or self.slots - len(self.rows) >= self._wanted()):
            events += self._admit()
        if self.rows:
            events += self._decode()
        return events

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        params: Sequence[Sequence[SamplingParams]],
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """Complete every prompt; `params[i]` has one entry a sample of prompt i. Longest prompts are run first."""
        order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
        requests: list[Request | None] = [None] * len(prompts)
        for i in order:
            requests[i] = self.add(prompts[i], params[i])
        while not self.idle:
            self.step()
            if progress is not None:
                progress(sum(1 for r in requests if r is not None and r.open == 0))
        return [r.completions for r in requests if r is not None]

    def _wanted(self) -> int:
        """Free slots that make a prefill worth while: the next request, or a quarter of the engine if more wait."""
        waiting = sum(len(r.params) for r in itertools.islice(self.waiting, self.slots))
        return max(len(self.waiting[0].params), min(waiting, self.slots // 4))

    def _drop_cancelled(self) -> None:
        for row in self.rows:
            if row.request.cancelled and not row.done:
                self._finish(row, "cancelled")
        if any(r.cancelled for r in self.waiting):
            for request in self.waiting:
                if request.cancelled:
                    request.open = 0
                    for completion in request.completions:
                        completion.finish = "cancelled"
            self.waiting = deque(r for r in self.waiting if not r.cancelled)

    def _finish(self, row: _Row, reason: str) -> None:
        row.done = True
        row.completion.finish = reason
        row.request.open -= 1

    def _compact(self) -> None:
        """Close every hole with a live row from the end, in one exchange; what has finished lies behind the rows then."""
        self._hold()
        live = sum(not row.done for row in self.rows)
        holes = [i for i in range(live) if self.rows[i].done]
        tail = [i for i in range(live, len(self.rows)) if not self.rows[i].done]
        length = max((self.rows[i].length for i in (*tail, *holes)), default=0)
        self.runner.move([*tail, *holes], [*holes, *tail], length)
        self.held.moved([*tail, *holes], [*holes, *tail])
        for source, target in zip(tail, holes, strict=True):
            self.rows[target] = self.rows[source]
        del self.rows[live:]
        self._params = None

    def _hold(self) -> None:
        """Note what the slots of finished rows hold."""
        for slot, row in enumerate(self.rows):
            if row.done:
                self.held.put(slot, (*row.request.prompt, *row.completion.ids)[: row.length])

    def _admit(self) -> list[tuple[Request, int, int]]:
        """Prefill waiting prompts into free slots, in batches of as many tokens as `PREFILL_TOKENS`; one row a prompt."""
        events: list[tuple[Request, int, int]] = []
        if any(row.done for row in self.rows):
            self._compact()
        while self.waiting:
            batch: list[Request] = []
            prefixes: list[Prefix | None] = []
            free, longest = self.slots - len(self.rows), 0
            while self.waiting and len(self.waiting[0].params) <= free:
                request = self.waiting[0]
                prefix = self.held.match(request.prompt)
                longest = max(longest, len(request.prompt) - (prefix.length if prefix else 0))
                if batch and longest * (len(batch) + 1) > PREFILL_TOKENS:
                    break
                free -= len(request.params)
                batch.append(self.waiting.popleft())
                prefixes.append(prefix)
            if not batch:
                break
            events += self._prefill(batch, prefixes)
        return events

    def _prefill(self, batch: list[Request], prefixes: list[Prefix | None]) -> list[tuple[Request, int, int]]:
        first, device = len(self.rows), self.runner.device
        need = max(len(r.prompt) + max(p.max_tokens for p in r.params) for r in batch)
        if self.runner.allocate(self.slots, need):
            self.held.resize(self.runner.rows, self.runner.max_len)
        logits = self._compute(batch, prefixes, first)
        # Each prompt sits in one slot, in the order of the batch; spread it over the slots of its samples.
        source = [first + i for i, r in enumerate(batch) for _ in r.params]
        spread = [(s, t) for t, s in enumerate(source, first) if s != t]
        self.runner.move([s for s, _ in spread], [t for _, t in spread], max(len(r.prompt) for r in batch))
        new = [_Row(r, j, p, len(r.prompt), 0) for r in batch for j, p in enumerate(r.params)]
        for slot, row in enumerate(new, first):
            self.held.put(slot, row.request.prompt)
        self.rows += new
        self._params = None
        return self._sample(new, logits[torch.tensor(source, device=device) - first], self._row_params(new))

    def _compute(self, batch: list[Request], prefixes: list[Prefix | None], first: int) -> torch.Tensor:
        """Lay the prefixes of `batch` into the slots from `first` on, compute the rest of each prompt, and return the
        logits after its last token: (prompts, vocabulary)."""
        source, target = self.held.place(first, sum(len(r.params) for r in batch), prefixes)
        self.runner.move(source, target, int(self.held.held[target].max(initial=0)))
        known = [prefix.length if prefix else 0 for prefix in prefixes]
        self.reused_tokens += sum(known)
        rest = [r.prompt[n:] for r, n in zip(batch, known, strict=True)]
        ids = torch.zeros((len(batch), max(map(len, rest))), dtype=torch.long)
        for i, tokens in enumerate(rest):
            ids[i, : len(tokens)] = torch.tensor(tokens)
        device = self.runner.device
        start = torch.tensor(known, device=device) if any(known) else None
        last = torch.tensor([len(tokens) - 1 for tokens in rest], device=device)
        end = min(max(known) + ids.shape[1], self.runner.max_len)
        return self.runner.forward(ids.to(device), slice(first, first + len(batch)), start, end, last)

    def _row_params(self, rows: list[_Row]) -> RowParams:
        params = [row.params for row in rows]
        return RowParams(
            [p.temperature for p in params],
            [p.top_p for p in params],
            [p.top_k for p in params],
            [p.seed for p in params],
            self.runner.device,
        )

    def _decode(self) -> list[tuple[Request, int, int]]:
        rows = self.rows
        device = self.runner.device
        tokens = torch.tensor([[row.token] for row in rows], device=device)
        start = torch.tensor([row.length for row in rows], device=device)
        last = torch.zeros(len(rows), dtype=torch.long, device=device)
        end = max(row.length for row in rows) + 1
        logits = self.runner.forward(tokens, slice(0, len(rows)), start, end, last)
        for row in rows:
            if not row.done:
                row.length += 1
        if self._params is None:
            self._params = self._row_params(rows)
        return self._sample(rows, logits, self._params)

    def _sample(self, rows: list[_Row], logits: torch.Tensor, params: RowParams) -> list[tuple[Request, int, int]]:
        positions = torch.tensor([len(row.completion.ids) for row in rows], device=self.runner.device)
        ids, logprobs = sample(logits, params, positions)
        events = []
        for row, token, logprob in zip(rows, ids.tolist(), logprobs.tolist(), strict=True):
            if row.done:
                continue
            completion = row.completion
            completion.ids.append(token)
            completion.logprobs.append(logprob)
            row.token = token
            events.append((row.request, row.sample, token))
            if token in row.params.stop_ids:
                self._finish(row, "stop")
            elif len(completion.ids) >= row.params.max_tokens:
                self._finish(row, "length")
        self.generated_tokens += len(events)
        if all(row.done for row in self.rows):
            self._hold()
            self.rows.clear()
            self._params = None
        return events
