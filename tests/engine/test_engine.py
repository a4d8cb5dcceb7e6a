"""The engine's tokens and log-probabilities are the model's own, whoever else is in the batch."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from telechat.core.errors import UserError
from telechat.engine import Engine, SamplingParams


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(30, 600) for _ in range(draw.randint(1, 50))] for _ in range(count)]


def reference_logprobs(model, prompt: list[int], ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids], device=model.device)).logits[0].cpu()
    return torch.log_softmax(logits[len(prompt) - 1 : -1], -1)


def test_greedy_tokens_and_logprobs_equal_a_plain_forward(model):
    asked = prompts(30)
    engine = Engine(model, slots=7)
    done = engine.generate(asked, [[SamplingParams(12, 0.0)] for _ in asked])
    for prompt, (completion,) in zip(asked, done, strict=True):
        expected = reference_logprobs(model, prompt, completion.ids)
        assert completion.ids == expected.argmax(-1).tolist()
        chosen = expected.gather(-1, torch.tensor(completion.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), chosen, atol=1e-4, rtol=0)


def test_sampled_logprobs_are_those_of_the_unmodified_model(model):
    engine = Engine(model, slots=16)
    params = [SamplingParams(10, 0.7, 0.9, 20, seed=i) for i in range(8)]
    (done,) = engine.generate([prompts(1)[0]], [params])
    for completion in done:
        expected = reference_logprobs(model, prompts(1)[0], completion.ids)
        chosen = expected.gather(-1, torch.tensor(completion.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), chosen, atol=1e-4, rtol=0)


def test_a_sample_does_not_depend_on_its_neighbours(model):
    asked = prompts(20, seed=3)
    params = [[SamplingParams(15, 1.0, seed=100 + i)] for i in range(len(asked))]
    together = Engine(model, slots=20).generate(asked, params)
    alone = [Engine(model, slots=1).generate([p], [q])[0] for p, q in zip(asked, params, strict=True)]
    assert [c[0].ids for c in together] == [c[0].ids for c in alone]


def test_samples_of_one_group_differ_and_repeat_with_their_seeds(model):
    prompt = prompts(1)[0]
    params = [SamplingParams(12, 1.5, seed=i) for i in range(8)]
    first = Engine(model, slots=8).generate([prompt], [params])[0]
    again = Engine(model, slots=8).generate([prompt], [params])[0]
    assert [c.ids for c in first] == [c.ids for c in again]
    assert len({tuple(c.ids) for c in first}) > 1


def test_stop_ids_end_a_completion_and_are_kept(model):
    prompt = prompts(1)[0]
    free = Engine(model).generate([prompt], [[SamplingParams(10, 0.0)]])[0][0]
    stop = free.ids[4]
    stopped = Engine(model).generate([prompt], [[SamplingParams(10, 0.0, stop_ids=(stop,))]])[0][0]
    assert stopped.finish == "stop"
    assert stopped.ids == free.ids[: free.ids.index(stop) + 1]
    assert free.finish == "length"


def test_requests_join_and_leave_while_others_run(model):
    engine = Engine(model, slots=4)
    first = engine.add(prompts(1)[0], [SamplingParams(20, 0.0)])
    for _ in range(5):
        engine.step()
    late = engine.add(prompts(2)[1], [SamplingParams(3, 0.0)] * 2)
    while not engine.idle:
        engine.step()
    assert len(first.completions[0].ids) == 20
    assert [len(c.ids) for c in late.completions] == [3, 3]
    expected = Engine(model).generate([prompts(1)[0]], [[SamplingParams(20, 0.0)]])[0][0].ids
    assert first.completions[0].ids == expected


def test_cancelling_frees_the_slot_and_keeps_what_was_generated(model):
    engine = Engine(model, slots=2)
    running = engine.add(prompts(1)[0], [SamplingParams(50, 0.0)])
    waiting = engine.add(prompts(2)[1], [SamplingParams(50, 0.0)] * 2)
    for _ in range(4):
        engine.step()
    engine.cancel(running)
    engine.cancel(waiting)
    engine.step()
    assert engine.idle
    assert running.completions[0].finish == "cancelled"
    assert len(running.completions[0].ids) == 5  # the first step prefills and decodes


def test_refresh_takes_new_weights(model):
    engine = Engine(model)
    prompt = prompts(1)[0]
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(-1)
    engine.refresh()
    ids = engine.generate([prompt], [[SamplingParams(6, 0.0)]])[0][0].ids
    assert ids == reference_logprobs(model, prompt, ids).argmax(-1).tolist()


@pytest.mark.parametrize(
    ("prompt", "samples", "message"),
    [([], 1, "empty"), ([1] * 256, 1, "context"), ([1], 99, "slots")],
)
def test_what_cannot_run_is_refused_with_a_reason(model, prompt, samples, message):
    with pytest.raises(UserError, match=message):
        Engine(model, slots=8).add(prompt, [SamplingParams()] * samples)


def test_a_completion_is_cut_where_the_context_ends(model):
    prompt = [5] * 250
    completion = Engine(model).generate([prompt], [[SamplingParams(100, 0.0)]])[0][0]
    assert len(completion.ids) == 6
    assert completion.finish == "length"


def test_what_a_slot_holds_of_a_prompt_is_not_computed_again(model):
    engine = Engine(model, slots=4)
    first = prompts(1, seed=5)[0] + list(range(100, 140))
    turn = engine.generate([first], [[SamplingParams(6, 0.0)]])[0][0]
    longer = [*first, *turn.ids, 7, 8, 9]
    again = engine.generate([longer], [[SamplingParams(6, 0.0)]])[0][0]
    assert engine.reused_tokens == len(first) + 5  # all but the last sampled token, which was never fed
    assert again.ids == Engine(model).generate([longer], [[SamplingParams(6, 0.0)]])[0][0].ids


def test_conversations_that_grow_side_by_side_stay_exact(model):
    draw = random.Random(2)
    system = [draw.randrange(30, 600) for _ in range(20)]
    engine = Engine(model, slots=5)
    talks = [system + [draw.randrange(30, 600) for _ in range(draw.randint(1, 12))] for _ in range(9)]
    for turn in range(4):
        params = [[SamplingParams(draw.randint(1, 9), 1.0, seed=i + 10 * turn)] for i in range(len(talks))]
        done = engine.generate(talks, params)
        for talk, asked, (completion,) in zip(talks, params, done, strict=True):
            expected = reference_logprobs(model, talk, completion.ids)
            chosen = expected.gather(-1, torch.tensor(completion.ids)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(completion.logprobs), chosen, atol=1e-4, rtol=0)
            assert completion.ids == Engine(model).generate([talk], [asked])[0][0].ids
        talks = [[*t, *c.ids, draw.randrange(30, 600)] for t, (c,) in zip(talks, done, strict=True)]
    assert engine.reused_tokens > 9 * 20


def test_groups_and_single_rows_share_prefixes_and_stay_exact(model):
    draw = random.Random(4)
    system = [draw.randrange(30, 600) for _ in range(25)]
    engine = Engine(model, slots=8)
    for round_ in range(5):
        asked = [
            system[: draw.randint(9, 25)] + [draw.randrange(30, 600) for _ in range(draw.randint(1, 60))] for _ in range(6)
        ]
        params = [[SamplingParams(draw.randint(1, 12), 1.0, seed=j) for j in range(draw.randint(1, 4))] for _ in asked]
        for prompt, group in zip(asked, engine.generate(asked, params), strict=True):
            for completion in group:
                expected = reference_logprobs(model, prompt, completion.ids)
                chosen = expected.gather(-1, torch.tensor(completion.ids)[:, None])[:, 0]
                torch.testing.assert_close(torch.tensor(completion.logprobs), chosen, atol=1e-4, rtol=0)
        assert round_ == 0 or engine.reused_tokens > 0


def test_the_slot_used_longest_ago_is_overwritten_first(model):
    engine = Engine(model, slots=3)
    talks = prompts(3, seed=8)
    talks = [t + list(range(200, 220)) for t in talks]
    for talk in talks:
        engine.generate([talk], [[SamplingParams(2, 0.0)]])
    engine.generate([talks[0] + [5]], [[SamplingParams(2, 0.0)]])
    engine.generate([list(range(300, 340))], [[SamplingParams(2, 0.0)]])  # takes the place of talks[1]
    assert engine.held.match(talks[0] + [6]).length == len(talks[0])
    assert engine.held.match(talks[2] + [6]).length == len(talks[2])
    assert engine.held.match(talks[1] + [6]) is None


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "mistral", "gemma2"])
def test_other_decoders_are_exact_or_refused(family):
    """A decoder with more parts than the engine computes must not run without them."""
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64}
    window = {"sliding_window": None} if family == "mistral" else {}
    torch.manual_seed(0)
    other = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes, **window)).eval()
    if family in ("qwen3", "gemma2"):  # norms of queries and keys; more norms around
        with pytest.raises(UserError, match="Llama-like"):
            Engine(other)
        return
    prompt = [5, 6, 7, 8]
    (done,) = Engine(other).generate([prompt], [[SamplingParams(8, 0.0)]])[0]
    with torch.no_grad():
        logits = other(torch.tensor([prompt + done.ids])).logits[0].log_softmax(-1)
    expected = [logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(done.ids)]
    assert done.logprobs == pytest.approx(expected, abs=1e-4)
