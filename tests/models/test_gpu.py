"""On a CUDA device both families compute what they compute on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch

from telechat.models.loading import best_device, load_model
from tests.models.family import FAMILY, random_ids
from tests.models.test_behaviours import greedy

pytestmark = [pytest.mark.gpu, pytest.mark.parametrize("make", FAMILY.values(), ids=FAMILY.keys())]
CLOSE = dict(atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention"])
@pytest.mark.parametrize("length", [37, 128])
def test_logits_and_gradients_are_those_of_the_cpu(make, attention, length):
    model, ids = make(), random_ids(2, length)
    mask = torch.ones_like(ids)
    mask[0, :6] = 0
    here = copy.deepcopy(model).cuda()
    here.set_attn_implementation(attention)
    expected = model(ids, attention_mask=mask).logits[mask.bool()]
    found = here(ids.cuda(), attention_mask=mask.cuda()).logits[mask.bool().cuda()]
    torch.testing.assert_close(found.cpu(), expected, **CLOSE)
    if attention != "flex_attention":
        expected.pow(2).mean().backward()
        found.pow(2).mean().backward()
        for (name, parameter), other in zip(model.named_parameters(), here.parameters(), strict=True):
            torch.testing.assert_close(other.grad.cpu(), parameter.grad, atol=1e-3, rtol=1e-3, msg=name)


def test_a_padded_batch_generates_what_the_cpu_generates(make):
    model, ids = make(), random_ids(3, 12)
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    expected = model.generate(ids, attention_mask=mask, generation_config=greedy())
    here = model.cuda()
    found = here.generate(ids.cuda(), attention_mask=mask.cuda(), generation_config=greedy())
    assert found.tolist() == expected.tolist()
    static = here.generate(
        ids.cuda(), attention_mask=mask.cuda(), generation_config=greedy(cache_implementation="static", disable_compile=True)
    )
    assert static.tolist() == expected.tolist()


def test_half_precision_stays_near(make):
    model, ids = make().cuda(), random_ids(2, 64).cuda()
    with torch.no_grad():
        exact = model(ids).logits.log_softmax(-1)
        near = model.to(torch.bfloat16)(ids).logits.float().log_softmax(-1)
    assert (exact.exp() * (exact - near)).sum(-1).mean() < 0.01  # KL divergence in nats


def test_compiled_it_computes_the_same(make):
    model, ids = make().cuda(), random_ids(2, 64).cuda()
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True)(ids, use_cache=False).logits
        torch.testing.assert_close(compiled, model(ids, use_cache=False).logits, **CLOSE)


def test_a_checkpoint_is_loaded_to_the_device(make, tmp_path):
    make().save_pretrained(tmp_path)
    assert best_device() == "cuda"
    assert {p.device.type for p in load_model(tmp_path).parameters()} == {"cuda"}
