"""Token sequences as padded tensors. Every learning stage feeds the trainer with these and nothing else.

A `Sample` is a prompt that is only read and a completion that is (partly) learned. Samples that share a prompt are
computed with one pass over that prompt (`Batch.parent`), with the same loss as if each carried its own copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
class Batch:
    """Padded tensors of one forward pass: `groups` prompts and `rows` completions.

    Padding is on the right. `prompts` is None when completions stand alone (pretraining).
    """

    completions: torch.Tensor  # (rows, time) ids
    weights: torch.Tensor  # (rows, time)
    prompts: torch.Tensor | None = None  # (groups, prompt_time) ids
    prompt_lengths: torch.Tensor | None = None  # (groups,)
    parent: torch.Tensor | None = None  # (rows,) index into groups
    old_logprobs: torch.Tensor | None = None  # (rows, time)
    lengths: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))  # (rows,) real completion tokens

    @property
    def tokens(self) -> int:
        """Real tokens computed (shared prompts counted once)."""
        shared = 0 if self.prompt_lengths is None else int(self.prompt_lengths.sum())
        return shared + int(self.lengths.sum())

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in vars(self).items()}
        return Batch(**moved)


def _padded(rows: Sequence[Sequence[float]], dtype: torch.dtype) -> torch.Tensor:
    out = torch.zeros((len(rows), max(1, max(len(row) for row in rows))), dtype=dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row, dtype=dtype)
    return out


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch from `samples`; equal prompts are stored once."""
    lengths = torch.tensor([len(s.completion) for s in samples])
    completions = _padded([s.completion for s in samples], torch.long)
    weights = _padded([s.weights for s in samples], torch.float32)
    old = _padded([s.old_logprobs for s in samples], torch.float32) if samples[0].old_logprobs else None
    if not any(s.prompt for s in samples):
        return Batch(completions, weights, old_logprobs=old, lengths=lengths)
    index: dict[tuple[int, ...], int] = {}
    parent = torch.tensor([index.setdefault(s.prompt, len(index)) for s in samples])
    prompts = list(index)
    prompt_lengths = torch.tensor([len(p) for p in prompts])
    return Batch(completions, weights, _padded(prompts, torch.long), prompt_lengths, parent, old, lengths)


WASTE = 1.25  # padded tokens ÷ real tokens that a batch may have …
ENOUGH = 768  # … once it has this many real tokens: below that, larger matrices are worth the padding


def grouped(samples: Sequence[Sample], max_tokens: int) -> list[list[int]]:
    """Indices of `samples` split into groups of similar lengths, of at most `max_tokens` padded tokens each.

    The result is a function of the samples only. Samples that share a prompt stay side by side.
    """
    order = sorted(range(len(samples)), key=lambda i: (len(samples[i].prompt), samples[i].prompt, len(samples[i].completion), i))
    groups: list[list[int]] = []
    prompts: dict[tuple[int, ...], None] = {}
    prompt_time = time = real = 0
    for i in order:
        sample = samples[i]
        new = sample.prompt not in prompts
        wide, long = max(prompt_time, len(sample.prompt)), max(time, len(sample.completion))
        padded = wide * (len(prompts) + new) + long * (len(groups[-1]) + 1 if groups else 1)
        size = real + new * len(sample.prompt) + len(sample.completion)
        if groups and padded <= max_tokens and (real < ENOUGH or padded <= WASTE * size):
            groups[-1].append(i)
            prompt_time, time, real = wide, long, size
        else:
            groups.append([i])
            prompts = {}
            prompt_time, time, real = len(sample.prompt), len(sample.completion), sample.length
        prompts[sample.prompt] = None
    return groups


def microbatches(samples: Sequence[Sample], max_tokens: int) -> list[Batch]:
    """`samples` as batches of at most `max_tokens` padded tokens each (a longer sample is a batch of its own)."""
    return [collate([samples[i] for i in group]) for group in grouped(samples, max_tokens)]
