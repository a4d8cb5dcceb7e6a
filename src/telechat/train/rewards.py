"""The fused reward: verified rules, the reward model, and rewards of one's own; advantages of a group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from telechat.core.own import own_reward
from telechat.core.recipe import RewardConfig
from telechat.core.types import Task, Trajectory
from telechat.models.loading import training_device
from telechat.tasks.registry import get_kind
from telechat.train.batches import collate, grouped
from telechat.train.examples import trajectory_sample
from telechat.train.losses import answer_scores
from telechat.train.packed import hidden_states


class RewardModel:
    """Scores trajectories with a trained reward model."""

    def __init__(self, folder: Path, max_tokens: int = 16384) -> None:
        self.model: Any = AutoModelForSequenceClassification.from_pretrained(folder).to(training_device()).eval()
        self.max_tokens = max_tokens

    @torch.no_grad()
    def scores(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """One score a trajectory, in the given order."""
        samples = [trajectory_sample(t, 1.0) for t in trajectories]
        out = [0.0] * len(samples)
        for group in grouped(samples, self.max_tokens):
            batch = collate([samples[i] for i in group]).to(self.model.device)
            values = answer_scores(self.model, batch, hidden_states(self.model, batch))
            for i, value in zip(group, values.tolist(), strict=True):
                out[i] = value
        return out


class RunningScale:
    """Mean and spread of reward-model scores over the run, so that a weight means the same at every step."""

    def __init__(self) -> None:
        self.count, self.mean, self.square = 0.0, 0.0, 0.0

    def update(self, values: Sequence[float]) -> None:
        """Take in a batch; old batches fade with a half-life of about 7 updates."""
        if not values:
            return
        fresh, fresh_square = sum(values) / len(values), sum(v * v for v in values) / len(values)
        keep = 0.9 if self.count else 0.0
        self.mean = keep * self.mean + (1 - keep) * fresh
        self.square = keep * self.square + (1 - keep) * fresh_square
        self.count += 1

    def normalise(self, value: float) -> float:
        """`value` as standard deviations from the mean, within ±2."""
        spread = max(1e-4, self.square - self.mean**2) ** 0.5
        return max(-2.0, min(2.0, (value - self.mean) / spread))

    def state(self) -> list[float]:
        """For a checkpoint."""
        return [self.count, self.mean, self.square]

    def restore(self, state: Sequence[float]) -> None:
        """From a checkpoint."""
        self.count, self.mean, self.square = state


class FusedReward:
    """rule × verdict + model × squashed reward-model score + one's own."""

    def __init__(self, config: RewardConfig, reward_model: Path | None) -> None:
        self.config = config
        self.scale = RunningScale()
        self.own = {name: (own_reward(name), weight) for name, weight in config.own.items()}
        self.model = RewardModel(reward_model) if reward_model is not None and config.model > 0 else None

    def __call__(self, pairs: Sequence[tuple[Task, Trajectory]]) -> list[dict[str, float]]:
        """The reward of each (task, trajectory), part by part, weighted: `rule`, `model`, and one's own by name. Their
        sum is the reward."""
        rewards = self.checked(pairs)
        self.add_model(pairs, rewards)
        return rewards

    def checked(self, pairs: Sequence[tuple[Task, Trajectory]]) -> list[dict[str, float]]:
        """The parts that do not come from a model: the verdict and one's own rewards."""
        rewards = [{"rule": self.config.rule * (t.verdict.score if t.verdict else 0.0)} for _, t in pairs]
        for name, (function, weight) in self.own.items():
            for parts, pair in zip(rewards, pairs, strict=True):
                parts[name] = weight * float(function(*pair))
        return rewards

    def add_model(self, pairs: Sequence[tuple[Task, Trajectory]], rewards: Sequence[dict[str, float]]) -> None:
        """Add the reward model's part. It has seen single turns only and says nothing of several."""
        if self.model is None:
            return
        single = [i for i, (task, _) in enumerate(pairs) if not get_kind(task.kind).multi_turn]
        scores = self.model.scores([pairs[i][1] for i in single]) if single else []
        self.scale.update(scores)
        for parts in rewards:
            parts["model"] = 0.0
        for i, score in zip(single, scores, strict=True):
            rewards[i]["model"] = self.config.model * self.scale.normalise(score) / 2


def advantages(rewards: Sequence[float], floor: float) -> list[float]:
    """(reward − group mean) / (group standard deviation + floor): GRPO (arXiv 2402.03300) with a softened divisor,
    which keeps groups with one lucky sample from shouting (`facts`: 0.1 works, plain division collapses at high rates)."""
    mean = sum(rewards) / len(rewards)
    spread = (sum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5
    return [(r - mean) / (spread + floor) for r in rewards]
