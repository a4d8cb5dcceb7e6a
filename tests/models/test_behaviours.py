"""Both families are first-class citizens of transformers: what people do with any decoder works with these."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import DynamicCache, GenerationConfig, StaticCache

from tests.models.family import FAMILY, PAD, random_ids

CLOSE = dict(atol=2e-5, rtol=0)
families = pytest.mark.parametrize("make", FAMILY.values(), ids=FAMILY.keys())


@families
def test_left_padding_changes_no_logits(make):
    model, ids = make(), random_ids(1, 12)
    padded = torch.cat([torch.full((1, 5), PAD), ids], 1)
    mask = (torch.arange(17) >= 5).long()[None]
    with torch.no_grad():
        alone = model(ids).logits
        # Without position_ids a rotary embedding shifts queries and keys alike: only their distance counts.
        torch.testing.assert_close(model(padded, attention_mask=mask).logits[:, 5:], alone, **CLOSE)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        shifted = model(padded, attention_mask=mask, position_ids=positions).logits[:, 5:]
    torch.testing.assert_close(shifted, alone, **CLOSE)


@families
def test_position_ids_are_obeyed(make):
    model, ids = make(), random_ids(1, 10)
    with torch.no_grad():
        plain = model(ids).logits
        moved = model(ids, position_ids=torch.arange(10)[None] + 7).logits
        spread = model(ids, position_ids=torch.arange(10)[None] * 3).logits
    torch.testing.assert_close(moved, plain, **CLOSE)  # rotary: only distances count
    assert (spread - plain).abs().max() > 1e-2


@families
@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("chunks", [(1,) * 24, (24,), (7, 1, 16), (20, 4)], ids=str)
def test_logits_do_not_depend_on_how_a_prompt_enters_the_cache(make, kind, chunks):
    model, ids = make(), random_ids(2, 24)
    cache = DynamicCache(config=model.config) if kind == "dynamic" else StaticCache(config=model.config, max_cache_len=32)
    with torch.no_grad():
        whole = model(ids).logits
        parts, done = [], 0
        for size in chunks:
            positions = torch.arange(done, done + size)[None]
            out = model(ids[:, done : done + size], past_key_values=cache, position_ids=positions, use_cache=True)
            parts.append(out.logits)
            done += size
    torch.testing.assert_close(torch.cat(parts, 1), whole, **CLOSE)


def greedy(**more):
    return GenerationConfig(max_new_tokens=16, do_sample=False, pad_token_id=PAD, eos_token_id=2, **more)


@families
def test_a_batch_generates_what_each_prompt_generates_alone(make):
    model = make()
    prompts = [random_ids(1, n, seed=n) for n in (4, 9, 13)]
    width = max(p.shape[1] for p in prompts)
    batch = torch.cat([torch.nn.functional.pad(p, (width - p.shape[1], 0), value=PAD) for p in prompts])
    together = model.generate(batch, attention_mask=(batch != PAD).long(), generation_config=greedy())
    for row, prompt in zip(together, prompts, strict=True):
        alone = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=greedy())
        assert row[width : width + 16].tolist() == alone[0, prompt.shape[1] :].tolist()


@families
def test_static_and_dynamic_cache_generate_alike(make):
    model, ids = make(), random_ids(2, 8)
    mask = torch.ones_like(ids)
    dynamic = model.generate(ids, attention_mask=mask, generation_config=greedy())
    static = model.generate(ids, attention_mask=mask, generation_config=greedy(cache_implementation="static"))
    assert dynamic.tolist() == static.tolist()


@families
def test_assisted_decoding_gives_the_greedy_answer(make):
    model, ids = make(), random_ids(1, 8)
    helper = make()
    with torch.no_grad():
        for parameter in helper.parameters():  # an assistant that is often, but not always, right
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    mask = torch.ones_like(ids)
    alone = model.generate(ids, attention_mask=mask, generation_config=greedy())
    helped = model.generate(ids, attention_mask=mask, generation_config=greedy(), assistant_model=helper)
    assert helped.tolist() == alone.tolist()


@families
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(make, reentrant):
    model, ids = make().train(), random_ids(2, 16)

    def gradients():
        model.zero_grad()
        model(ids, labels=ids).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    plain = gradients()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[name], atol=1e-6, rtol=1e-5, msg=name)


@families
def test_torch_compile_finds_no_graph_breaks(make):
    model, ids = make(), random_ids(2, 16)
    torch._dynamo.reset()
    explained = torch._dynamo.explain(lambda x: model(x, use_cache=False).logits)(ids)
    assert explained.graph_break_count == 0, explained.break_reasons
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(ids, use_cache=False).logits, model(ids).logits, **CLOSE)


@families
@pytest.mark.parametrize("attention", ["eager", "flex_attention"])
def test_attention_implementations_agree(make, attention):
    # On the CPU, flex attention of torch 2.13 is wrong at lengths that are no multiple of 128; with a Llama as well.
    model, ids = make(), random_ids(2, 128)
    mask = torch.ones_like(ids)
    mask[0, :6] = 0
    with torch.no_grad():
        model.set_attn_implementation("sdpa")
        plain = model(ids, attention_mask=mask).logits
        model.set_attn_implementation(attention)
        other = model(ids, attention_mask=mask).logits
    seen = mask.bool()
    torch.testing.assert_close(other[seen], plain[seen], **CLOSE)


@families
def test_lora_trains_the_usual_target_modules_and_merges(make, tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model, ids = make(), random_ids(2, 16)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 7 * model.config.num_hidden_layers
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(6):
        loss = adapted(ids, labels=ids).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    adapted.save_pretrained(tmp_path)
    adapted.eval()
    with torch.no_grad():
        wanted = adapted(ids).logits
        again = peft.PeftModel.from_pretrained(make(), tmp_path).eval()
        torch.testing.assert_close(again(ids).logits, wanted, **CLOSE)
        torch.testing.assert_close(again.merge_and_unload()(ids).logits, wanted, atol=1e-4, rtol=0)


@families
def test_the_tensor_parallel_plan_names_every_matrix_of_a_layer(make):
    model = make()
    modules = dict(model.named_modules())
    plan = {f"model.{pattern}": style for pattern, style in model.config.base_model_tp_plan.items()}
    plan |= model._tp_plan or {}
    covered = {}
    for pattern, style in plan.items():
        regex = re.compile(re.escape(pattern).replace(r"\*", r"\d+"))
        found = [name for name in modules if regex.fullmatch(name)]
        assert found, f"the plan names {pattern}, which no module has"
        covered |= dict.fromkeys(found, style)
    matrices = {name for name, module in modules.items() if isinstance(module, torch.nn.Linear)}
    assert matrices <= set(covered)
    for name in matrices:  # a sum over shards closes each block, nothing else does
        assert covered[name].startswith("rowwise") == name.endswith(("o_proj", "down_proj")), (name, covered[name])


@families
def test_a_device_map_places_the_model(make, tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path, device_map="auto")
    assert again._no_split_modules
    ids = random_ids(1, 9)
    with torch.no_grad():
        torch.testing.assert_close(again(ids.to(again.device)).logits.cpu(), model(ids).logits, **CLOSE)
