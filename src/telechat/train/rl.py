"""The rl and agentic_rl stages: GRPO on verified rewards, on-policy, one update for each batch of rollouts.

Kinds are drawn in proportion to p(1 − p), p being the running pass rate: what is never or always solved teaches
nothing. Groups whose verdicts are all equal are skipped. Structured hints (the beginning of a worked solution, put
into the model's thinking) help where sampling finds nothing, and are annealed away. Tool results are read, never
learned. A few right answers to tasks of all kinds can be replayed in each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from telechat.chat.render import Renderer
from telechat.core.files import write_jsonl
from telechat.core.recipe import AgenticRlStage, RlStage
from telechat.core.seeds import rng, seed_of
from telechat.core.types import RolloutParams, Task, Trajectory
from telechat.tasks.registry import generate, get_kind
from telechat.train.batches import Sample, microbatches
from telechat.train.examples import path_sample, trajectory_sample
from telechat.train.losses import policy_gradient
from telechat.train.rewards import FusedReward, advantages
from telechat.train.stage import Rollouts, StageContext, StageResult
from telechat.train.trainer import Update

FADE = 0.8  # weight of the past in the running pass rate of a kind


@dataclass
class Curriculum:
    """Which kind to ask next: running pass rates, and how many tasks of each kind have been drawn."""

    kinds: Sequence[str]
    min_share: float
    rates: dict[str, float] = field(default_factory=dict)
    drawn: dict[str, int] = field(default_factory=dict)
    multi_turn_share: float = 1.0

    def shares(self) -> dict[str, float]:
        """Share of each kind: p(1 − p), with a floor of `min_share` × uniform; those of several turns have at most
        `multi_turn_share` together, because their rollouts take several times as long."""
        raw = {k: self.rates.get(k, 0.5) * (1 - self.rates.get(k, 0.5)) for k in self.kinds}
        total = sum(raw.values()) or 1.0
        floored = {k: max(v / total, self.min_share / len(self.kinds)) for k, v in raw.items()}
        whole = sum(floored.values())
        shares = {k: v / whole for k, v in floored.items()}
        several = [k for k in self.kinds if get_kind(k).multi_turn]
        together = sum(shares[k] for k in several)
        if self.multi_turn_share < together < 1:
            more, less = (1 - self.multi_turn_share) / (1 - together), self.multi_turn_share / together
            shares = {k: v * (less if k in several else more) for k, v in shares.items()}
        return shares

    def draw(self, count: int, seed: int, step: int) -> list[Task]:
        """`count` fresh training tasks."""
        shares = self.shares()
        chosen = rng("kinds", seed, step).choices(list(shares), list(shares.values()), k=count)
        tasks = []
        for kind in chosen:
            index = self.drawn.get(kind, 0)
            self.drawn[kind] = index + 1
            tasks.append(generate(kind, "train", seed, index))
        return tasks

    def learn(self, kind: str, rate: float) -> None:
        """Take in the pass rate of one group."""
        self.rates[kind] = FADE * self.rates[kind] + (1 - FADE) * rate if kind in self.rates else rate


def in_turn(kinds: Sequence[str], shares: Mapping[str, int], count: int, seed: int, step: int) -> list[Task]:
    """The `count` training tasks of `step`, one kind after the other; each stands `shares` times (default 1) in a turn,
    and a turn may reach over several steps."""
    turn = [kind for kind in kinds for _ in range(shares.get(kind, 1))]
    numbers = range(step * count, (step + 1) * count) if turn else ()
    return [generate(turn[i % len(turn)], "train", seed, i) for i in numbers]


class RlSource:
    """Makes a step's batches by rolling out the present policy."""

    def __init__(
        self,
        config: RlStage | AgenticRlStage,
        kinds: Sequence[str],
        rollouts: Rollouts,
        renderer: Renderer,
        reward: FusedReward,
        seed: int,
        turns: int,
        folder: Path,
        all_kinds: Sequence[str],
    ) -> None:
        self.config = config
        self.all_kinds = all_kinds
        self.rollouts = rollouts
        self.renderer = renderer
        self.reward = reward
        self.seed = seed
        self.turns = turns
        self.folder = folder
        floor, several = (config.min_share, config.multi_turn_share) if isinstance(config, RlStage) else (0.1, 1.0)
        self.curriculum = Curriculum(kinds, floor, multi_turn_share=several)

    def state(self) -> dict[str, Any]:
        """Pass rates, task counters and the reward scale."""
        return {"rates": self.curriculum.rates, "drawn": self.curriculum.drawn, "scale": self.reward.scale.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.curriculum.rates = dict(state["rates"])
        self.curriculum.drawn = dict(state["drawn"])
        self.reward.scale.restore(state["scale"])

    def batches(self, step: int) -> tuple[list[Update], dict[str, float]]:
        """Roll out, judge, and turn the groups that disagree into weighted samples, `updates` lots of them."""
        config = self.config
        self.rollouts.refresh()
        tasks = self.curriculum.draw(config.prompts, self.seed, step)
        hints = self._hints(tasks, step)
        params = RolloutParams(
            config.max_tokens, config.temperature, seed=seed_of(self.seed, "rollout", step), turns=self.turns
        )
        again = self._replayed(step)
        # Several turns of a few rows would take longer than the whole batch: their worked paths are replayed.
        asked = [t for t in again if not get_kind(t.kind).multi_turn]
        counts = [config.group] * len(tasks) + [1] * len(asked)
        made = self.rollouts([*tasks, *asked], counts, params, [*hints, *([] for _ in asked)])
        groups, attempts = made[: len(tasks)], {t.id: attempt for t, (attempt,) in zip(asked, made[len(tasks) :], strict=True)}
        mixed, parts = [], []
        passed = 0.0
        for task, hint, group in zip(tasks, hints, groups, strict=True):
            verdicts = [t.verdict.score if t.verdict else 0.0 for t in group]
            passed += sum(verdicts) / len(verdicts)
            if not hint:
                self.curriculum.learn(task.kind, sum(verdicts) / len(verdicts))
            checked = self.reward.checked([(task, t) for t in group])
            if len({sum(each.values()) for each in checked}) > 1:
                mixed.append((task, group))
                parts += checked
        self.reward.add_model([(task, t) for task, group in mixed for t in group], parts)
        rewards = [sum(each.values()) for each in parts]
        samples: list[list[Sample]] = []
        for i, (_, group) in enumerate(mixed):
            weights = advantages(rewards[i * config.group : (i + 1) * config.group], config.std_floor)
            # From the second update on the policy is no longer the one that sampled.
            off = config.updates > 1
            samples.append([trajectory_sample(t, w, off) for t, w in zip(group, weights, strict=True)])
        updates = [
            self._update(samples[part :: config.updates], again[part :: config.updates], attempts)
            for part in range(config.updates)
        ]
        if step % 10 == 0:
            first = {task.id: parts[i * config.group] for i, (task, _) in enumerate(mixed)}
            self._keep(step, tasks, groups, first)
        figures = {"reward": passed / len(tasks), "mixed": len(mixed) / len(tasks), **self._figures(groups, parts)}
        return updates, figures

    def _figures(self, groups: Sequence[Sequence[Trajectory]], parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Mean length of an answer, mean of each part of the reward where there was something to learn, and the running
        pass rate of each kind."""
        lengths = [sum(t.mask) for group in groups for t in group]
        return {
            "completion": sum(lengths) / len(lengths),
            **{f"reward/{name}": sum(each[name] for each in parts) / len(parts) for name in (parts[0] if parts else ())},
            **{f"rate/{kind}": rate for kind, rate in sorted(self.curriculum.rates.items())},
        }

    def _update(self, groups: Sequence[Sequence[Sample]], again: Sequence[Task], attempts: Mapping[str, Trajectory]) -> Update:
        """Groups of weighted samples and replayed tasks as the batches of one update."""
        samples = [sample for group in groups for sample in group]
        divisor = float(sum(sum(1 for w in s.weights if w) for s in samples)) or 1.0
        replayed = self._replay(again, attempts, divisor)
        size = self.config.microbatch_tokens
        if self.config.updates > 1:  # what is replayed has no probabilities of before
            return [*microbatches(samples, size), *microbatches(replayed, size)], divisor
        return microbatches([*samples, *replayed], size), divisor

    def _hints(self, tasks: Sequence[Task], step: int) -> list[list[int]]:
        """The beginning of a worked solution for some tasks; fewer and shorter as training goes on."""
        config = self.config
        if not isinstance(config, RlStage) or not config.hint_share:
            return [[] for _ in tasks]
        left = max(0.0, 1 - step / (config.hint_until * config.steps))
        out: list[list[int]] = []
        for i, task in enumerate(tasks):
            draw = rng("hint", self.seed, step, i)
            worked = task.paths[0][0]
            if draw.random() >= config.hint_share * left or not worked.reasoning_content:
                out.append([])
                continue
            ids = self.renderer.completion_ids(worked)
            thinking = self.renderer.thinking_length(ids)
            out.append(list(ids[: int(thinking * draw.uniform(0.3, 0.9) * left) + 1]))
        return out

    def _replayed(self, step: int) -> list[Task]:
        """Tasks of every kind of the recipe, so that none is forgotten while others are reinforced."""
        kinds = self.all_kinds
        if isinstance(self.config, AgenticRlStage):  # its own kinds are reinforced already; their turns would take the time
            kinds = [k for k in kinds if k not in self.curriculum.kinds] or kinds
        return in_turn(kinds, self.config.replay_shares, self.config.replay, self.seed + 17, step)

    def _replay(self, tasks: Sequence[Task], attempts: Mapping[str, Trajectory], divisor: float) -> list[Sample]:
        """One answer to each task: the policy's own where it is verified right, the worked path where it is not.
        Together they count `replay_weight` of a step."""
        samples = []
        for task in tasks:
            attempt = attempts.get(task.id)
            own = attempt is not None and attempt.verdict is not None and attempt.verdict.passed
            path = trajectory_sample(attempt, 1.0) if attempt and own else path_sample(self.renderer, task, task.paths[0])
            samples.append(path)
        tokens = sum(sum(s.weights) for s in samples) or 1.0
        weight = self.config.replay_weight * divisor / tokens
        return [Sample(s.prompt, s.completion, tuple(weight * w for w in s.weights)) for s in samples]

    def _keep(
        self,
        step: int,
        tasks: Sequence[Task],
        groups: Sequence[Sequence[Trajectory]],
        rewards: Mapping[str, Mapping[str, float]],
    ) -> None:
        """One rollout of each task of this step, for people to read; with its reward where the group learned from it."""
        rows = [
            {
                "step": step,
                "task": task.id,
                "prompt": [m.to_dict() for m in task.messages],
                "messages": [m.to_dict() for m in group[0].messages],
                "score": group[0].verdict.score if group[0].verdict else 0.0,
                "group": round(sum(t.verdict.score for t in group if t.verdict) / len(group), 3),
                "reward": {name: round(value, 4) for name, value in rewards.get(task.id, {}).items()},
            }
            for task, group in zip(tasks, groups, strict=True)
        ]
        write_jsonl(self.folder / "data" / f"rollouts-{step:05d}.jsonl", rows)


def run(context: StageContext, config: RlStage | AgenticRlStage) -> StageResult:
    """Reinforce the newest model on the stage's kinds."""
    model = context.model()
    multi = isinstance(config, AgenticRlStage)
    kinds = config.kinds or [k for k in context.kinds if get_kind(k).multi_turn == multi]
    source = RlSource(
        config,
        kinds,
        context.rollouts(model),
        context.renderer(context.tokenizer()),
        FusedReward(config.reward, context.newest("reward_model")),
        context.seed,
        context.recipe.evaluation.turns,
        context.folder,
        context.kinds,
    )
    tokens = context.train(model, policy_gradient, source, config)
    return StageResult({"pass_rates": {k: round(v, 4) for k, v in sorted(source.curriculum.rates.items())}, "tokens": tokens})
