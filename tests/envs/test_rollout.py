"""Rollouts keep what was generated, token for token, and learn nothing from what the environment said."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from telechat.core.types import Message, RolloutParams
from telechat.engine import Completion, SamplingParams
from telechat.envs.rollout import roll_out
from telechat.tasks.registry import KINDS, generate, get_kind

PARAMS = RolloutParams(600, 0.0, turns=8)


class ScriptedEngine:
    """An engine that plays a solution path: the turn that follows the tool results in its prompt."""

    slots = 64
    max_len = 4096

    def __init__(self, renderer, paths: dict[tuple[int, ...], Sequence[Message]]) -> None:
        self.renderer = renderer
        self.paths = paths
        self.calls = 0

    def generate(
        self, prompts: Sequence[Sequence[int]], params: Sequence[Sequence[SamplingParams]], progress: object = None
    ) -> list[list[Completion]]:
        self.calls += 1
        return [[self._turn(tuple(prompt), p) for p in wanted] for prompt, wanted in zip(prompts, params, strict=True)]

    def _turn(self, prompt: tuple[int, ...], params: SamplingParams) -> Completion:
        first = next(key for key in self.paths if prompt[: len(key)] == key)
        done = list(prompt[len(first) :]).count(self.renderer.end_id)
        turns = [m for m in self.paths[first] if m.role == "assistant"]
        ids = self.renderer.completion_ids(turns[done])[: params.max_tokens]
        return Completion(ids, [-0.5] * len(ids), "stop" if ids[-1] == self.renderer.end_id else "length")


def play(renderer, tasks, samples=1, params=PARAMS, hints=None):
    paths = {tuple(renderer.render(t.messages, t.tools).ids): t.gold for t in tasks}
    return roll_out(ScriptedEngine(renderer, paths), renderer, tasks, samples, params, hints)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_gold_path_played_token_by_token_is_judged_right(renderer, kind):
    for index in range(4):  # one at a time: two tasks may ask the same of different worlds
        ((trajectory,),) = play(renderer, [generate(kind, "train", 5, index)])
        assert trajectory.verdict is not None
        assert trajectory.verdict.passed
        assert len(trajectory.ids) == len(trajectory.mask) == len(trajectory.logprobs)


@pytest.mark.parametrize("kind", [k for k in KINDS if get_kind(k).multi_turn])
def test_the_models_tokens_are_kept_and_the_worlds_are_masked(renderer, kind):
    task = generate(kind, "train", 5, 0)
    ((trajectory,),) = play(renderer, [task])
    turns = [m for m in task.gold if m.role == "assistant"]
    generated = [i for turn in turns for i in renderer.completion_ids(turn)]
    assert [i for i, m in zip(trajectory.ids, trajectory.mask, strict=True) if m] == generated
    text = renderer.decode([i for i, m in zip(trajectory.ids, trajectory.mask, strict=True) if not m])
    for message in trajectory.messages:
        if message.role == "tool":
            assert f"<tool_response>{message.content}</tool_response>" in text


def test_a_cut_answer_is_wrong(renderer):
    task = generate("addition", "train", 5, 0)
    ((trajectory,),) = play(renderer, [task], params=RolloutParams(3, 0.0))
    assert trajectory.finish == "length"
    assert not trajectory.verdict.passed


@pytest.mark.parametrize("kind", ["call_single", "tool_lookup"])
def test_a_call_that_is_not_closed_is_neither_made_nor_right(renderer, kind):
    class Unclosed(ScriptedEngine):
        def _turn(self, prompt, params):
            ids = [i for i in super()._turn(prompt, params).ids if renderer.decode([i]) != "</tool_call>"]
            return Completion(ids, [-0.5] * len(ids), "stop")

    task = generate(kind, "train", 5, 0)
    engine = Unclosed(renderer, {tuple(renderer.render(task.messages, task.tools).ids): task.gold})
    ((trajectory,),) = roll_out(engine, renderer, [task], 1, PARAMS)
    assert [m.role for m in trajectory.messages] == ["assistant"]
    assert trajectory.finish == "stop"
    assert not trajectory.verdict.passed


def test_turns_are_bounded(renderer):
    task = generate("tool_calculator", "train", 5, 0)
    ((trajectory,),) = play(renderer, [task], params=RolloutParams(600, 0.0, turns=1))
    assert sum(m.role == "assistant" for m in trajectory.messages) == 1
    assert not trajectory.verdict.passed


def test_a_group_shares_its_first_prompt(renderer):
    task = generate("addition", "train", 5, 0)
    engine = ScriptedEngine(renderer, {tuple(renderer.render(task.messages, task.tools).ids): task.gold})
    (group,) = roll_out(engine, renderer, [task], 5, PARAMS)
    assert engine.calls == 1
    assert len(group) == 5


def test_a_hint_counts_as_prompt_and_is_part_of_the_answer(renderer):
    task = generate("addition", "train", 5, 0)
    whole = renderer.completion_ids(task.gold[0])
    hint = whole[:4]

    class Rest(ScriptedEngine):
        def _turn(self, prompt, params):
            return Completion(whole[4:], [-0.1] * (len(whole) - 4), "stop")

    ((trajectory,),) = roll_out(Rest(renderer, {}), renderer, [task], 1, PARAMS, [hint])
    assert trajectory.verdict.passed
    assert sum(trajectory.mask) == len(whole) - 4
    assert trajectory.messages[0].reasoning_content == task.gold[0].reasoning_content
