"""The pieces of the stages: fusion weights, advantages, curricula, rewards, optimisers, saved state."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from telechat.core.errors import UserError
from telechat.core.own import own_reward
from telechat.core.progress import Progress
from telechat.core.recipe import OptimizerConfig, RewardConfig, RlStage
from telechat.core.types import Message, Task, Trajectory, Verdict
from telechat.train.batches import Sample, collate
from telechat.train.losses import next_token
from telechat.train.merge import fused_state, performance_weights
from telechat.train.optimizer import build_optimizers, learning_rate, orthogonalised
from telechat.train.rewards import FusedReward, RewardModel, RunningScale, advantages
from telechat.train.rl import Curriculum, RlSource, in_turn
from telechat.train.state import load_state, save_state
from telechat.train.trainer import Metrics, Trainer


def test_performance_weights_are_a_softmax_of_scores_by_temperature():
    weights = performance_weights([0.5, 0.6, 0.4], 0.1)
    raw = [math.exp(5), math.exp(6), math.exp(4)]
    assert weights == pytest.approx([r / sum(raw) for r in raw])
    assert performance_weights([0.3, 0.3], 0.01) == [0.5, 0.5]


def test_fusion_is_the_weighted_sum_of_every_tensor(tmp_path, model):
    model.save_pretrained(tmp_path / "a")
    before = {n: p.clone() for n, p in model.state_dict().items()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p))
    model.save_pretrained(tmp_path / "b")
    fused = fused_state([tmp_path / "a", tmp_path / "b"], [0.25, 0.75])
    for name, tensor in fused.items():
        torch.testing.assert_close(tensor, 0.25 * before[name] + 0.75 * model.state_dict()[name])


def test_fusion_refuses_other_architectures(tmp_path, model):
    from telechat.models.configuration import Telechat3Config
    from telechat.models.telechat3 import Telechat3ForCausalLM

    model.save_pretrained(tmp_path / "a")
    other = Telechat3Config(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4)
    Telechat3ForCausalLM(other).save_pretrained(tmp_path / "b")
    with pytest.raises(UserError):
        fused_state([tmp_path / "a", tmp_path / "b"], [0.5, 0.5])


def test_advantages_are_centred_and_softened():
    assert advantages([1, 0, 0, 1], 0.1) == pytest.approx([0.5 / 0.6, -0.5 / 0.6, -0.5 / 0.6, 0.5 / 0.6])
    assert advantages([0.3] * 4, 0.1) == pytest.approx([0.0] * 4)


def test_the_curriculum_asks_what_is_half_learned():
    curriculum = Curriculum(["addition", "code", "knowledge"], min_share=0.1)
    curriculum.rates = {"addition": 0.5, "code": 0.99, "knowledge": 0.0}
    shares = curriculum.shares()
    assert shares["addition"] > 0.85
    assert min(shares.values()) > 0.01
    first = curriculum.draw(20, 1, 0)
    again = Curriculum(["addition", "code", "knowledge"], 0.1, dict(curriculum.rates)).draw(20, 1, 0)
    assert [t.id for t in first] == [t.id for t in again]
    assert len({t.id for t in [*first, *curriculum.draw(20, 1, 1)]}) == 40


def test_kinds_of_several_turns_have_a_bound_together():
    kinds = ["addition", "code", "tool_lookup", "file_repair"]
    rates = {"addition": 0.9, "code": 0.8, "tool_lookup": 0.5, "file_repair": 0.4}
    curriculum = Curriculum(kinds, 0.1, rates, multi_turn_share=0.1)
    shares = curriculum.shares()
    free = Curriculum(kinds, 0.1, curriculum.rates).shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["tool_lookup"] + shares["file_repair"] == pytest.approx(0.1)
    assert shares["addition"] / shares["code"] == pytest.approx(free["addition"] / free["code"])
    assert free["tool_lookup"] + free["file_repair"] > 0.4
    only = Curriculum(kinds[2:], 0.1, multi_turn_share=0.1).shares()
    assert sum(only.values()) == pytest.approx(1)


def test_kinds_are_replayed_in_turn_by_their_shares():
    kinds = ["addition", "code", "tool_calculator", "safety"]
    shares = {"tool_calculator": 3, "safety": 0}
    steps = [in_turn(kinds, shares, 4, 1, step) for step in range(5)]  # four turns of five tasks
    drawn = [task for step in steps for task in step]
    assert Counter(t.kind for t in drawn) == {"addition": 4, "code": 4, "tool_calculator": 12}
    assert len({t.id for t in drawn}) == 20
    assert [t.id for t in in_turn(kinds, shares, 4, 1, 2)] == [t.id for t in steps[2]]
    assert in_turn(["safety"], shares, 4, 1, 0) == []


def half(task: Task, trajectory: Trajectory) -> float:
    return 0.5


def test_rewards_are_fused_by_their_weights():
    task = Task("a", "addition", "train", 0, 0, (Message("user", "1+1="),))
    pairs = [(task, Trajectory("a", [], verdict=Verdict(score, bool(score)))) for score in (1.0, 0.0)]
    config = RewardConfig(rule=2.0, own={f"{__name__}:half": 0.4})
    name = f"{__name__}:half"
    assert FusedReward(config, None)(pairs) == [{"rule": 2.0, name: 0.2}, {"rule": 0.0, name: 0.2}]


def short(task: Task, trajectory: Trajectory) -> float:
    return -float(len(trajectory.ids))


def test_a_group_that_only_ones_own_reward_tells_apart_is_learned_from(tmp_path):
    class Alike:
        """Two right answers to every task, one of them longer."""

        def refresh(self):
            pass

        def __call__(self, tasks, samples, params, hints=None, progress=None):
            right = Verdict(1.0, True)
            return [
                [Trajectory(t.id, [], [5, 6, *[7] * n], [0, 0, *[1] * n], [0.0] * (n + 2), right) for n in (1, 2)]
                for t in tasks
            ]

    def batches(own: dict[str, float]):
        config = RlStage(name="rl", steps=1, prompts=2, group=2, reward=RewardConfig(rule=1.0, own=own))
        fused = FusedReward(config.reward, None)
        source = RlSource(config, ["addition"], Alike(), None, fused, 0, 1, tmp_path, ["addition"])
        ((made, _),), figures = source.batches(0)
        return made, figures["mixed"]

    assert batches({}) == ([], 0.0)
    ((batch,), mixed) = batches({f"{__name__}:short": 0.5})
    assert mixed == 1.0
    by_length = dict(zip(batch.owner.tolist(), batch.weights.tolist(), strict=True))
    assert sorted(w > 0 for w in by_length.values()) == [False, False, True, True]


@pytest.mark.parametrize("name", ["nothing", "no.such.module:f", "math:no_such"])
def test_a_reward_that_is_not_there_is_explained(name):
    with pytest.raises(UserError, match=name.split(":")[0]):
        own_reward(name)


def test_the_running_scale_normalises_and_survives_a_checkpoint():
    scale = RunningScale()
    for _ in range(50):
        scale.update([9.0, 11.0])
    assert scale.normalise(11.0) == pytest.approx(1.0, abs=0.01)
    assert scale.normalise(1000.0) == 2.0
    other = RunningScale()
    other.restore(json.loads(json.dumps(scale.state())))
    assert other.normalise(10.5) == scale.normalise(10.5)


def test_a_reward_models_score_is_its_head_and_a_share_of_the_likelihood(tmp_path, model):
    model.save_pretrained(tmp_path / "policy")
    scorer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "policy", num_labels=1)
    scorer.config.likelihood = 0.5
    with torch.no_grad():
        scorer.score.weight.normal_(generator=torch.Generator().manual_seed(0))
    scorer.save_pretrained(tmp_path / "reward")
    answers = [
        ((5, 6, 7, 8, 9, 10, 11, 12), (20, 21)),
        ((5, 6, 7, 8, 9, 10, 11, 12), (30, 31, 32)),
        ((40, 41), (50, 51, 52, 53)),
    ]
    made = [
        Trajectory("t", [], [*prompt, *ids], [0] * len(prompt) + [1] * len(ids), [0.0] * (len(prompt) + len(ids)))
        for prompt, ids in answers
    ]
    expected = []
    for prompt, ids in answers:
        whole = torch.tensor([[*prompt, *ids]])
        with torch.no_grad():
            state = scorer.model(whole).last_hidden_state[0, -1]
            chosen = torch.log_softmax(model(whole).logits[0, len(prompt) - 1 : -1], -1).gather(-1, torch.tensor(ids)[:, None])
            expected.append(float(scorer.score(state)) + 0.5 * float(chosen.sum()))
    assert RewardModel(tmp_path / "reward").scores(made) == pytest.approx(expected, abs=1e-3)


def test_one_step_can_hold_several_updates(tmp_path, model):
    class Twice:
        def batches(self, step):
            rows = [Sample((5, 6), (7 + i, 8), (1.0, 1.0)) for i in range(2)]
            return [([collate([row])], 2.0) for row in rows], {"seen": 2.0}

        def state(self):
            return {}

        def restore(self, state):
            raise AssertionError("nothing was saved")

    counts = []
    trainer = Trainer(
        model, next_token, Twice(), OptimizerConfig(lr=1e-3), tmp_path, 3, name="t", progress=Progress(quiet=True)
    )
    for optimizer in trainer.optimizers:
        optimizer.register_step_post_hook(lambda *_: counts.append(1))
    trainer.run()
    assert len(counts) == 6
    assert [json.loads(line)["seen"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [2.0] * 3


def test_newton_schulz_makes_singular_values_nearly_one():
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 16, 40), (2, 40, 16), (1, 160, 448), (1, 300, 700)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape, generator=generator)))
        assert values.min() > 0.3
        assert values.max() < 1.3


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest(model):
    adamw, muon = build_optimizers(model, OptimizerConfig(name="muon", lr=1e-3))
    hidden = {id(p) for group in muon.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in hidden) == (parameter.ndim == 2 and "embed" not in name)
    assert sum(len(g["params"]) for g in adamw.param_groups) + len(hidden) == len(list(model.parameters()))


def test_the_learning_rate_warms_up_holds_and_decays():
    config = OptimizerConfig(lr=1.0, warmup=4, decay=0.5, final=0.1)
    rates = [learning_rate(config, step, 20) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:10] == [1.0] * 6
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.1 < rates[-1] < 0.25


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_saved_state_continues_bit_for_bit(tmp_path, tokenizer, name):
    from telechat.core.recipe import ModelConfig
    from telechat.models.presets import new_model

    small = ModelConfig(hidden_size=32, layers=1, heads=4, kv_heads=2, intermediate_size=64, context=64)
    config = OptimizerConfig(name=name, lr=1e-2)

    def steps(model, optimizers, numbers):
        for number in numbers:
            ids = torch.randint(0, 600, (4, 20), generator=torch.Generator().manual_seed(number))
            model(ids, labels=ids).loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

    whole = new_model(small, tokenizer, 0)
    optimizers = build_optimizers(whole, config)
    steps(whole, optimizers, range(3))
    save_state(tmp_path / "s.safetensors", whole, optimizers, {"step": 3})
    steps(whole, optimizers, range(3, 6))
    resumed = new_model(small, tokenizer, 1)
    optimizers = build_optimizers(resumed, config)
    assert load_state(tmp_path / "s.safetensors", resumed, optimizers) == {"step": 3}
    steps(resumed, optimizers, range(3, 6))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    metrics = Metrics(file, 2)
    metrics.log({"step": 3, "again": True})
    metrics.close()
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"step": 1},
        {"step": 2},
        {"step": 3, "again": True},
    ]
