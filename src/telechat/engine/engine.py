"""Who runs when: continuous batching over KV slots.

Requests wait in a queue; a prompt is computed once and its keys and values are copied to all of its samples, and what
a slot already holds of its beginning is not computed at all (`slots.py`). A long prompt is computed in parts, so that
those who are being answered go on. Finished rows stay in the batch, ignored, until enough of them have gathered; then
all holes are filled at once from the end (closing them one by one halves the speed, see `docs/log.md`).

Keys and values have a budget. Slots are as long as the longest row needs, so a longer row means fewer of them: the
youngest rows then go back to the head of the queue and are computed again later, with the tokens they had.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from telechat.core.errors import UserError
from telechat.engine.linear import Weights
from telechat.engine.params import Completion, Constraint, Request, SamplingParams
from telechat.engine.rows import Row, Rows, Work
from telechat.engine.runner import Runner
from telechat.engine.slots import Prefix, Slots

PREFILL_TOKENS = 4096  # padded tokens in one prefill batch: enough for matrix speed
FAIR_PREFILL_TOKENS = 512  # the same while others are being answered: they wait for it
COMPACT_SHARE = 0.15  # close holes when this share of the batch has finished
RESERVE = 256  # tokens of an answer that a slot has room for from the start; it grows when they are used up
UNIT = 64  # slots are a multiple of so many positions long

Event = tuple[Request, int, int]


class Engine:
    """Generates with `model`; `slots` rows at most decode together.

    `fair` lets requests join one by one between two decode steps, as a server wants it; otherwise all that fit are
    taken in first, in bulk. `kv_bytes` bounds the memory of keys and values; None is as much as `slots` rows need.
    `weights` "int8" keeps the matrices in eight bits.
    """

    def __init__(
        self,
        model: Any,
        slots: int = 64,
        max_len: int | None = None,
        *,
        fair: bool = False,
        kv_bytes: int | None = None,
        weights: Weights = "own",
    ) -> None:
        self.runner = Runner(model, weights)
        self.slots = slots
        self.fair = fair
        self.held = Slots()
        self.max_len = min(max_len or self.runner.max_positions, self.runner.max_positions)
        self._budget: int | None = None  # positions of all slots together
        if kv_bytes is not None:
            self._budget = kv_bytes // self.runner.bytes_per_token
            self.max_len = min(self.max_len, self._budget // UNIT * UNIT)
            if not self.max_len:
                raise UserError(f"{kv_bytes} bytes for keys and values hold {self._budget} tokens; {UNIT} are the least")
        self.waiting: deque[Work] = deque()
        self.rows = Rows(self.runner)
        self._partial: tuple[Work, list[Row]] | None = None  # a prompt that is being computed in parts
        self._joined = False  # the last step took somebody in
        self._ids = itertools.count()
        self.generated_tokens = 0
        self.reused_tokens = 0  # of prompts, found in a slot
        self.prompt_tokens = 0
        self.prefilled_tokens = 0  # computed of prompts, and again after a pre-emption
        self.preemptions = 0

    def refresh(self) -> None:
        """Take the model's present weights; only between requests, since cached keys belong to the old ones."""
        if self.rows:
            raise RuntimeError("the engine is still generating")
        self.runner.refresh()
        self.held.clear()

    def add(
        self,
        prompt: Sequence[int],
        params: Sequence[SamplingParams],
        constraints: Sequence[Constraint | None] = (),
        salt: str = "",
    ) -> Request:
        """Queue one prompt with one completion for each of `params`; raises `UserError` when it cannot fit.

        `constraints`, where given, has one entry a completion. Prefixes are shared with requests of equal `salt` only.
        """
        if not prompt:
            raise UserError("the prompt is empty")
        if len(params) > self.slots:
            raise UserError(f"{len(params)} samples of one prompt were asked for; this engine has {self.slots} slots")
        room = self.max_len - len(prompt)
        if room < 1:
            raise UserError(f"the prompt has {len(prompt)} tokens; this model's context ends at {self.max_len}")
        fitted = [p if p.max_tokens <= room else replace(p, max_tokens=room) for p in params]
        completions = [Completion() for _ in fitted]
        limits = list(constraints) or [None] * len(fitted)
        request = Request(next(self._ids), list(prompt), fitted, completions, len(fitted), constraints=limits, salt=salt)
        self.waiting.append(Work(request, list(range(len(fitted))), request.prompt))
        self.prompt_tokens += len(prompt)
        return request

    def cancel(self, request: Request) -> None:
        """Stop `request` before the next step; what it has generated stays in its completions."""
        request.cancelled = True

    def end(self, request: Request, sample: int) -> None:
        """One sample needs no more tokens: it finishes with "stop" before the next step, the others go on."""
        request.ended.add(sample)

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self.rows and not self.waiting

    @property
    def running(self) -> int:
        """Completions that are being generated."""
        return self.rows.live

    @property
    def queued(self) -> int:
        """Completions that wait for a slot; may be read from another thread while the engine works."""
        return sum(len(work.samples) for work in list(self.waiting))

    @property
    def kv_usage(self) -> float:
        """Share of the slots' positions that live rows have filled."""
        room = self.runner.rows * self.runner.max_len
        return sum(row.length for row in self.rows if not row.done) / room if room else 0.0

    def step(self) -> list[Event]:
        """One scheduling step: take in what fits, then decode one token for every live row. A fair engine gives first
        tokens away before it decodes on, and takes nobody in twice in a row while others are being answered.

        Returns (request, sample, token) for every token sampled in this step.
        """
        self._drop_unwanted()
        if self.rows.finished_share >= COMPACT_SHARE:
            self._compact()
        events: list[Event] = []
        if not (self.fair and self._joined and self.rows.active):
            events = self._prefill_step()
            if self.fair and events:
                self._joined = True
                return events
        self._joined = False
        if self.rows.active:
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

    # Leaving

    def _drop_unwanted(self) -> None:
        """Finish what was cancelled or ended from outside."""
        for row in self.rows:
            if not row.done and (row.request.cancelled or row.sample in row.request.ended):
                row.finish("cancelled" if row.request.cancelled else "stop")
        if self._partial is not None and all(row.done for row in self._partial[1]):
            self._partial = None
        if any(work.request.cancelled or work.request.ended for work in self.waiting):
            for work in self.waiting:
                gone = work.samples if work.request.cancelled else [s for s in work.samples if s in work.request.ended]
                work.request.open -= len(gone)
                for sample in gone:
                    work.request.completions[sample].finish = "cancelled" if work.request.cancelled else "stop"
                work.samples = [s for s in work.samples if s not in gone]
            self.waiting = deque(work for work in self.waiting if work.samples)
        if self.rows and not self.rows.live:
            self._compact()

    def _compact(self) -> None:
        """Close every hole with a live row from the end, in one exchange; what has finished lies behind the rows then."""
        for slot, row in enumerate(self.rows):
            if row.done:
                self.held.put(slot, row.ids[: row.length], row.request.salt)
        source, target, length = self.rows.compact()
        self.runner.move(source, target, length)
        self.held.moved(source, target)

    # Memory

    def _slots_of(self, length: int) -> int:
        """How many slots of `length` positions the budget has."""
        return self.slots if self._budget is None else max(1, min(self.slots, self._budget // length))

    def _resize(self, length: int) -> None:
        """Make every slot `length` positions long; the youngest rows go when that leaves too few slots."""
        length = min(-(-length // UNIT) * UNIT, -(-self.max_len // UNIT) * UNIT)
        slots = self._slots_of(length)
        if self.rows.live > slots:
            young = sorted((row for row in self.rows if not row.done), key=lambda row: (row.request.id, row.sample))
            for row in reversed(young[slots:]):
                self._preempt(row)
        if len(self.rows) > slots:
            self._compact()
        self.runner.allocate(slots, length)
        self.held.resize(slots, self.runner.max_len)

    def _preempt(self, row: Row) -> None:
        """Send a row back to the head of the queue."""
        row.done = True
        if self._partial is not None and row in self._partial[1]:
            work, rows = self._partial
            for sibling in rows:
                sibling.done = True
            self.waiting.appendleft(work)
            self._partial = None
        elif row.ready:
            self.waiting.appendleft(Work(row.request, [row.sample], row.ids))
        self.preemptions += 1

    # Joining

    def _prefill_step(self) -> list[Event]:
        """Compute prompts: of everything that fits, or one batch of them where others wait meanwhile."""
        events: list[Event] = []
        while True:
            budget = FAIR_PREFILL_TOKENS if self.fair and self.rows.active else PREFILL_TOKENS
            if self._partial is not None:
                events += self._go_on(budget)
            else:
                batch = self._pick(budget)
                if not batch:
                    return events
                events += self._start(batch, budget)
            if self.fair:
                return events

    def _pick(self, budget: int) -> list[tuple[Work, Prefix | None]]:
        """The next works that fit, in the order of the queue, with what the slots hold of them; they leave the queue."""
        if not self.waiting:
            return []
        if not self.fair and self.rows and self.slots - len(self.rows) < self._wanted():
            return []
        if any(row.done for row in self.rows):
            self._compact()
        self._shorten()
        batch: list[tuple[Work, Prefix | None]] = []
        total = longest = 0
        length = self.runner.max_len
        while self.waiting:
            work = self.waiting[0]
            need = max(length, min(work.need(RESERVE), self.max_len))
            free = self._slots_of(-(-need // UNIT) * UNIT) - len(self.rows) - total
            if len(work.samples) > free:
                if batch or not self._split():
                    break
                continue
            prefix = self.held.match(work.ids, work.request.salt)
            longest = max(longest, len(work.ids) - (prefix.length if prefix else 0))
            if batch and longest * (len(batch) + 1) > budget:
                break
            batch.append((self.waiting.popleft(), prefix))
            total += len(work.samples)
            length = need
        if batch and length > self.runner.max_len:
            self._resize(max(length, min(2 * self.runner.max_len, self.max_len)) if self._budget is None else length)
            batch = [(work, self.held.match(work.ids, work.request.salt)) for work, _ in batch]
        return batch

    def _shorten(self) -> None:
        """Have more and shorter slots when works wait for slots longer than anybody needs."""
        if self._budget is None or not self.runner.rows or self._slots_of(self.runner.max_len) == self.slots:
            return
        first = list(itertools.islice(self.waiting, self.slots))
        if sum(len(work.samples) for work in first) <= self.runner.rows - len(self.rows):
            return
        needs = [*(work.need(RESERVE) for work in first), *(row.length + RESERVE for row in self.rows)]
        shortest = -(-min(max(needs), self.max_len) // UNIT) * UNIT
        if shortest <= self.runner.max_len // 2:
            self._resize(shortest)

    def _split(self) -> bool:
        """Nothing runs and the first work has more samples than there are slots: queue it in parts."""
        work = self.waiting[0]
        slots = self._slots_of(-(-min(max(work.need(RESERVE), self.runner.max_len), self.max_len) // UNIT) * UNIT)
        if self.rows or len(work.samples) <= slots:
            return False
        self.waiting.popleft()
        self.waiting.appendleft(Work(work.request, work.samples[slots:], work.ids))
        self.waiting.appendleft(Work(work.request, work.samples[:slots], work.ids))
        return True

    def _wanted(self) -> int:
        """Free slots that make a prefill worth while: the next work, or a quarter of the engine if more wait."""
        waiting = sum(len(work.samples) for work in itertools.islice(self.waiting, self.slots))
        return max(len(self.waiting[0].samples), min(waiting, self.slots // 4))

    def _start(self, batch: list[tuple[Work, Prefix | None]], budget: int) -> list[Event]:
        """Give the batch its slots, lay known beginnings into them, and compute the rest (or a part of a long one)."""
        first = len(self.rows)
        groups = [[Row(work.request, sample) for sample in work.samples] for work, _ in batch]
        starts = list(itertools.accumulate((len(group) for group in groups), initial=first))
        prefixes = [prefix for _, prefix in batch]
        source, target = self.held.place(first, starts[-1] - first, prefixes, starts[:-1])
        self.runner.move(source, target, int(self.held.held[target].max(initial=0)))
        for (work, prefix), group in zip(batch, groups, strict=True):
            group[0].length = prefix.length if prefix else 0
            if work.request.started is None:  # what comes back after a pre-emption finds its own tokens
                work.request.started = time.monotonic()
                work.request.cached = group[0].length
                self.reused_tokens += group[0].length
            self.rows.extend(group)
        works = [work for work, _ in batch]
        if len(batch) == 1 and len(works[0].ids) - groups[0][0].length > budget:
            self._partial = (works[0], groups[0])
            return self._go_on(budget)
        return self._compute(works, groups)

    def _go_on(self, budget: int) -> list[Event]:
        """The next part of the prompt that is computed in parts."""
        assert self._partial is not None
        work, group = self._partial
        leader = group[0]
        if len(work.ids) - leader.length > budget:
            part = work.ids[leader.length : leader.length + budget]
            self.runner.run([part], [self.rows.index(leader)], [leader.length])
            leader.length += len(part)
            self.prefilled_tokens += len(part)
            return []
        self._partial = None
        return self._compute([work], [group])

    def _compute(self, works: list[Work], groups: list[list[Row]]) -> list[Event]:
        """Compute what is left of each work in the slot of its first row, copy it to the others, and sample."""
        slots = [[self.rows.index(row) for row in group] for group in groups]
        leaders = [group[0] for group in groups]
        rest = [work.ids[row.length :] for work, row in zip(works, leaders, strict=True)]
        self.prefilled_tokens += sum(map(len, rest))
        logits = self.runner.run(rest, [mine[0] for mine in slots], [row.length for row in leaders])
        spread = [(mine[0], other) for mine in slots for other in mine[1:]]
        self.runner.move([s for s, _ in spread], [t for _, t in spread], max(len(work.ids) for work in works))
        for work, group, mine in zip(works, groups, slots, strict=True):
            for row, slot in zip(group, mine, strict=True):
                row.length, row.ready = len(work.ids), True
                self.held.put(slot, work.ids, work.request.salt)
        copies = torch.tensor([len(group) for group in groups], device=logits.device)
        new = [row for group in groups for row in group]
        return self._count(self.rows.sample_new(new, logits.repeat_interleave(copies, 0)))

    # Going on

    def _decode(self) -> list[Event]:
        longest = max(row.length for row in self.rows) + 1
        if longest > self.runner.max_len:
            self._resize(min(2 * self.runner.max_len, self.max_len))
            if not self.rows.active:
                return []
        return self._count(self.rows.decode())

    def _count(self, events: list[Event]) -> list[Event]:
        self.generated_tokens += len(events)
        if self.rows and not self.rows.live:
            self._compact()
        return events
