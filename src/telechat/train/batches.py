"""Token sequences as flat tensors without padding. Every learning stage feeds the trainer with these and nothing else.

A `Sample` is a prompt that is only read and a completion that is (partly) learned. In a `Batch` all tokens of all
samples lie one after the other, and a prompt that several samples share lies there once. Only attention needs to know
who belongs to whom: `Attention` groups rows of similar length and says, for each query token, which keys it may see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True)
class Sample:
    """One training sequence.

    `weights[i]` multiplies the loss of `completion[i]`; 0 marks a token that is read but not learned (a tool
    result). `old_logprobs` are those of the policy that sampled the completion, where an objective needs them.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    weights: tuple[float, ...]
    old_logprobs: tuple[float, ...] = ()

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + len(self.completion)


@dataclass
class Attention:
    """Rows of tokens that attend together, as indices into the batch's flat tokens; padding repeats some token.

    `queries` (rows, q) and `keys` (rows, k): the last q of a row's keys are its queries. `mask` (rows, 1, q, k) says
    which keys a query sees; None means plain causal attention with q = k and no padding.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor | None


@dataclass
class Batch:
    """The flat tensors of one forward pass over `tokens` tokens.

    `back[i]` is where token i's result lies when the groups' padded results are laid one after the other. `source`,
    `targets` and `weights` (all (targets,)) name the token whose state predicts each learned token, that token, and
    its weight; `owner` (targets,) is the number of its sample. `last` (samples,) is the last token of each sample, in the
    order in which the samples were given.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    groups: list[Attention]
    back: torch.Tensor | None
    source: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    last: torch.Tensor
    old_logprobs: torch.Tensor | None = None
    owner: torch.Tensor | None = None

    @property
    def tokens(self) -> int:
        """Tokens computed (shared prompts counted once)."""
        return len(self.ids)

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        if self.ids.device == device:
            return self

        def move(value: object) -> object:
            if isinstance(value, torch.Tensor):
                return value.to(device)
            if isinstance(value, list):
                return [Attention(*(move(getattr(g, f.name)) for f in fields(g))) for g in value]  # type: ignore[arg-type]
            return value

        return Batch(**{f.name: move(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]


def rows_batch(rows: torch.Tensor, weights: torch.Tensor | None = None) -> Batch:
    """Rows of equal length (rows, time) in which every token but the first of a row is learned: pretraining.

    `weights` (rows, time) multiplies the loss of each token; None means 1.
    """
    count, time = rows.shape
    index = torch.arange(count * time).view(count, time)
    return Batch(
        ids=rows.reshape(-1),
        positions=torch.arange(time).repeat(count),
        groups=[Attention(index, index, None)],
        back=None,
        source=index[:, :-1].reshape(-1),
        targets=rows[:, 1:].reshape(-1),
        weights=torch.ones(count * (time - 1)) if weights is None else weights[:, 1:].reshape(-1),
        last=index[:, -1],
    )


GROUP_ROWS = 8  # attention groups hold at least this many rows: fewer would cost more in calls than in padding
PADDING = 1.3  # padded ÷ real keys that a group may have before it is closed
SHARED = 8  # tokens that a common beginning must have to be computed once; shorter ones cost more in rows than they save


@dataclass
class _Row:
    """Tokens that lie together and attend causally, after the tokens `before` them in other rows (flat indices)."""

    start: int
    length: int
    before: list[int]

    @property
    def keys(self) -> int:
        return len(self.before) + self.length


def _common(a: Sequence[int], b: Sequence[int], at: int) -> int:
    """The length of the common beginning of `a` and `b`, known to be at least `at`."""
    end = min(len(a), len(b))
    if a[at:end] == b[at:end]:
        return end
    while a[at] == b[at]:
        at += 1
    return at


class _Tree:
    """Token sequences laid flat as a tree: a beginning that several of them share is stored, and computed, once.

    The paths of a problem share its prompt, prompts share the system block and the tools that it offers.
    """

    def __init__(self, sequences: Sequence[tuple[int, ...]]) -> None:
        self.sequences = sequences
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.rows: list[_Row] = []
        self.where: list[list[int]] = [[] for _ in sequences]  # flat index of every token of every sequence
        self._split(sorted(range(len(sequences)), key=lambda i: (sequences[i], i)), [])

    def _split(self, members: list[int], before: list[int]) -> None:
        """Lay out `members`, neighbours in sorted order that agree on the tokens already at `before`."""
        at = len(before)
        runs: list[list[int]] = []
        shared = 0  # tokens that all members of the last run have in common
        for i in members:
            if runs:
                last = self.sequences[runs[-1][-1]]
                common = _common(last, self.sequences[i], at)
                if common >= at + SHARED or last == self.sequences[i]:
                    runs[-1].append(i)
                    shared = min(shared, common)
                    continue
                self._emit(runs[-1], before, shared)
            runs.append([i])
            shared = len(self.sequences[i])
        if runs:
            self._emit(runs[-1], before, shared)

    def _emit(self, run: list[int], before: list[int], end: int) -> None:
        """A row with the tokens up to `end` that the members of `run` share, then what follows in each of them."""
        start, at = len(self.ids), len(before)
        self.ids += self.sequences[run[0]][at:end]
        self.positions += range(at, end)
        path = [*before, *range(start, len(self.ids))]
        if end > at:
            self.rows.append(_Row(start, end - at, before))
        rest = [i for i in run if len(self.sequences[i]) > end]
        for i in run:
            if len(self.sequences[i]) == end:
                self.where[i] = path
        if rest:
            self._split(rest, path)


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch from `samples`; what several of them begin with is stored once."""
    tree = _Tree([sample.prompt + sample.completion for sample in samples])
    source: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    old: list[float] = []
    owner: list[int] = []
    for number, (sample, where) in enumerate(zip(samples, tree.where, strict=True)):
        size = len(sample.prompt)
        for i, weight in enumerate(sample.weights):
            if weight and (i or size):
                source.append(where[size + i - 1])
                targets.append(sample.completion[i])
                weights.append(weight)
                owner.append(number)
                if sample.old_logprobs:
                    old.append(sample.old_logprobs[i])
    groups, back = _attention(tree.rows, len(tree.ids))
    return Batch(
        torch.tensor(tree.ids),
        torch.tensor(tree.positions),
        groups,
        back,
        torch.tensor(source, dtype=torch.long),
        torch.tensor(targets, dtype=torch.long),
        torch.tensor(weights),
        torch.tensor([where[-1] for where in tree.where]),
        torch.tensor(old) if old else None,
        torch.tensor(owner, dtype=torch.long),
    )


def _attention(rows: Sequence[_Row], tokens: int) -> tuple[list[Attention], torch.Tensor]:
    """Group rows of similar length, and say where each token's result will lie."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i].length, rows[i].keys, i))
    groups: list[Attention] = []
    back = torch.empty(tokens, dtype=torch.long)
    offset = 0
    current: list[_Row] = []
    real = 0
    for number, i in enumerate(order):
        row = rows[i]
        longest = max([r.keys for r in current] + [row.keys])
        padded = row.length * longest * (len(current) + 1)
        size = real + row.length * row.keys
        if current and len(current) >= GROUP_ROWS and padded > PADDING * size:
            offset = _close(current, groups, back, offset)
            current, size = [], row.length * row.keys
        current.append(row)
        real = size
        if number == len(order) - 1:
            _close(current, groups, back, offset)
    return groups, back


def _close(rows: Sequence[_Row], groups: list[Attention], back: torch.Tensor, offset: int) -> int:
    """Turn rows into an `Attention`; what is before them and they themselves are padded on the right, each in its own
    stretch."""
    longest = max(r.length for r in rows)
    before = max(len(r.before) for r in rows)
    start, length = torch.tensor([[r.start] for r in rows]), torch.tensor([[r.length] for r in rows])
    own = torch.arange(longest)[None]
    read = torch.arange(before)[None]
    queries = torch.where(own < length, start + own, start)  # (rows, q)
    prefix = torch.tensor([r.before + [r.start] * (before - len(r.before)) for r in rows], dtype=torch.long)  # (rows, before)
    causal = own[..., None] >= own[:, None]  # (1, q, q)
    seen = (read < torch.tensor([[len(r.before)] for r in rows]))[:, None].expand(-1, longest, -1)  # (rows, q, before)
    mask = torch.cat([seen, causal.expand(len(rows), -1, -1)], -1)[:, None]
    groups.append(Attention(queries, torch.cat([prefix, queries], 1), mask))
    real = own < length
    where = offset + torch.arange(len(rows) * longest).view(len(rows), longest)
    back[queries[real]] = where[real]
    return offset + len(rows) * longest


def microbatches(samples: Sequence[Sample], max_tokens: int) -> list[Batch]:
    """`samples` as batches of at most `max_tokens` tokens each (a longer sample is a batch of its own)."""
    return [collate([samples[i] for i in group]) for group in grouped(samples, max_tokens)]


def grouped(samples: Sequence[Sample], max_tokens: int) -> list[list[int]]:
    """Indices of `samples` in groups of at most `max_tokens` tokens; what begins alike stays side by side, and what is
    stored once counts once."""
    order = sorted(range(len(samples)), key=lambda i: (samples[i].prompt, samples[i].completion, i))
    groups: list[list[int]] = []
    size = 0
    before: tuple[int, ...] = ()
    for i in order:
        sample = samples[i]
        cost = sample.length - _alike(before, sample.prompt)
        if not groups or size + cost > max_tokens:
            groups.append([])
            size, cost = 0, sample.length
        groups[-1].append(i)
        size += cost
        before = sample.prompt
    return groups


def _alike(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many tokens two prompts share at their beginning, 0 where too few to be stored once."""
    common = _common(a, b, 0) if a and b else 0
    return common if common >= SHARED else 0
