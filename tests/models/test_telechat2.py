"""TeleChat2 is exact: against a Llama with the same weights, in the published layout, with the published formulas."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from telechat.models.configuration import TelechatConfig
from telechat.models.telechat2 import TelechatForCausalLM, ntk_scaling

SMALL = dict(
    vocab_size=300, hidden_size=64, n_layer=3, n_head=4, num_key_value_heads=2, ffn_hidden_size=96, training_seqlen=64,
    base_seqlen=64, seq_length=128, layer_norm_epsilon=1e-5,
)  # fmt: skip


def published(seed: int = 0, kv_heads: int = 2, vocabulary: int = 300) -> dict[str, torch.Tensor]:
    """Random tensors under the published names."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw) * 0.05

    tensors = {"transformer.word_embeddings.weight": random(vocabulary, 64), "transformer.ln_f.weight": 1 + random(64)}
    tensors["lm_head.weight"] = random(vocabulary, 64)
    for i in range(3):
        room = f"transformer.h.{i}"
        tensors |= {
            f"{room}.input_layernorm.weight": 1 + random(64),
            f"{room}.post_attention_layernorm.weight": 1 + random(64),
            f"{room}.self_attention.query.weight": random(64, 64),
            f"{room}.self_attention.key_value.weight": random(2 * kv_heads * 16, 64),
            f"{room}.self_attention.dense.weight": random(64, 64),
            f"{room}.self_attention.dense.bias": random(64),
            f"{room}.mlp.gate_proj.weight": random(96, 64),
            f"{room}.mlp.up_proj.weight": random(96, 64),
            f"{room}.mlp.down_proj.weight": random(64, 96),
            f"{room}.mlp.down_proj.bias": random(64),
        }
    return tensors


def checkpoint(folder, architecture: str = "TelechatForCausalLM", vocabulary: int = 300, **changes):
    """A checkpoint folder in the published layout, two shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "telechat", "architectures": [architecture], **SMALL, "vocab_size": vocabulary, **changes}
    config["auto_map"] = {
        "AutoConfig": "configuration_telechat.TelechatConfig",
        "AutoModelForCausalLM": "modeling_telechat.TelechatForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps(config))
    tensors = published(kv_heads=config["num_key_value_heads"] or config["n_head"], vocabulary=vocabulary)
    names = sorted(tensors)
    shards = {
        "model-00001-of-00002.safetensors": names[: len(names) // 2],
        "model-00002-of-00002.safetensors": names[len(names) // 2 :],
    }
    for file, mine in shards.items():
        save_file({n: tensors[n] for n in mine}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {n: file for file, mine in shards.items() for n in mine}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def as_llama(tensors: dict[str, torch.Tensor], kv_heads: int) -> LlamaForCausalLM:
    """An independent reference: a Llama with all biases, into which the tensors are put by hand."""
    config = LlamaConfig(
        vocab_size=300, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=kv_heads,
        intermediate_size=96, rms_norm_eps=1e-5, attention_bias=True, mlp_bias=True, max_position_embeddings=128,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.embed_tokens.weight.copy_(tensors["transformer.word_embeddings.weight"])
        model.model.norm.weight.copy_(tensors["transformer.ln_f.weight"])
        model.lm_head.weight.copy_(tensors["lm_head.weight"])
        for i, layer in enumerate(model.model.layers):
            t = {n.removeprefix(f"transformer.h.{i}."): v for n, v in tensors.items() if f".h.{i}." in n}
            layer.input_layernorm.weight.copy_(t["input_layernorm.weight"])
            layer.post_attention_layernorm.weight.copy_(t["post_attention_layernorm.weight"])
            layer.self_attn.q_proj.weight.copy_(t["self_attention.query.weight"])
            for head in range(kv_heads):
                rows = t["self_attention.key_value.weight"][head * 32 : head * 32 + 32]
                layer.self_attn.k_proj.weight[head * 16 : head * 16 + 16] = rows[:16]
                layer.self_attn.v_proj.weight[head * 16 : head * 16 + 16] = rows[16:]
            layer.self_attn.o_proj.weight.copy_(t["self_attention.dense.weight"])
            layer.self_attn.o_proj.bias.copy_(t["self_attention.dense.bias"])
            for name in ("gate_proj", "up_proj", "down_proj"):
                getattr(layer.mlp, name).weight.copy_(t[f"mlp.{name}.weight"])
            layer.mlp.down_proj.bias.copy_(t["mlp.down_proj.bias"])
    return model


IDS = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kv_heads", [2, None])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_equal_those_of_a_llama_with_split_weights(tmp_path, kv_heads, attention):
    folder = checkpoint(tmp_path / "model", num_key_value_heads=kv_heads)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention).eval()
    reference = as_llama(published(kv_heads=kv_heads or 4), kv_heads or 4)
    with torch.no_grad():
        difference = (model(IDS).logits - reference(IDS).logits).abs().max()
    assert difference <= 1e-5


@pytest.mark.parametrize(
    "architecture", ["TelechatForCausalLM", "TeleChatForCausalLM", "TeleChat2ForCausalLM", "Telechat2ForCausalLM"]
)
def test_every_spelling_of_the_architecture_loads_without_remote_code(tmp_path, architecture):
    folder = checkpoint(tmp_path / "model", architecture)
    (folder / "modeling_telechat.py").write_text("raise RuntimeError('remote code was run')")
    (folder / "configuration_telechat.py").write_text("raise RuntimeError('remote code was run')")
    for trust in (False, True):
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=trust)
        assert isinstance(model, TelechatForCausalLM)


def test_a_checkpoint_goes_through_load_and_save_bit_for_bit(tmp_path):
    folder = checkpoint(tmp_path / "model")
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "again")
    found = {}
    for file in (tmp_path / "again").glob("*.safetensors"):
        with safe_open(file, "pt") as shard:
            found |= {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
    wanted = published()
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    for key, value in SMALL.items():
        assert config[key] == value, key


def test_a_first_generation_checkpoint_is_refused_when_the_model_is_built(tmp_path):
    folder = checkpoint(tmp_path / "model", vocab_size=160256)
    assert AutoConfig.from_pretrained(folder).vocab_size == TelechatConfig().vocab_size == 160256
    with pytest.raises(ValueError, match="TeleChat1"):
        AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("sizes", "billions"),
    [
        (dict(n_layer=64, hidden_size=6144, ffn_hidden_size=20480, n_head=48), 35.4),
        (dict(n_layer=96, hidden_size=8192, ffn_hidden_size=40960, n_head=64, num_key_value_heads=8), 113.28),
    ],
)
def test_parameter_counts_are_the_published_ones(sizes, billions):
    with torch.device("meta"):
        model = TelechatForCausalLM(TelechatConfig(vocab_size=131072, **sizes))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, abs=0.06)


@pytest.mark.parametrize(
    ("length", "alpha", "factor"),
    [
        (None, 1.0, 1.0),
        (8192, 1.0, 1.0),
        (8193, 3.0, 0.1 * math.log(8193 / 8192) + 1),
        (16384, 3.0, 1.0693147180559945),
        (16385, 7.0, 0.1 * math.log(16385 / 8192) + 1),
        (32768, 7.0, 1.138629436111989),
    ],
)
def test_alpha_and_factor_past_the_training_length(length, alpha, factor):
    found = ntk_scaling(TelechatConfig(vocab_size=131072, ntk_length=length))
    assert found == pytest.approx((alpha, factor), abs=1e-12)


def test_a_declared_length_changes_base_and_scale_of_the_rotary_embedding():
    plain = TelechatForCausalLM(TelechatConfig(**SMALL)).model.rotary_emb
    longer = TelechatForCausalLM(TelechatConfig(**SMALL, ntk_length=128)).model.rotary_emb
    assert plain.attention_scaling == 1.0
    assert longer.attention_scaling == pytest.approx(0.1 * math.log(2) + 1)
    base = 10000.0 * 3 ** (16 / 14)
    torch.testing.assert_close(longer.inv_freq, 1.0 / base ** (torch.arange(0, 16, 2) / 16))


def test_rope_theta_comes_from_the_checkpoint(tmp_path):
    folder = checkpoint(tmp_path / "model", rope_theta=1000000)
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, 1.0 / 1e6 ** (torch.arange(0, 16, 2) / 16))


def test_one_way_of_stretching_positions_at_a_time():
    with pytest.raises(ValueError, match="leave one out"):
        TelechatConfig(
            vocab_size=64, ntk_length=32768, rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
        )
    plain = {"rope_type": "dynamic", "factor": 1.0, "rope_theta": 1e4}  # as the published 7B-32K says
    assert TelechatConfig(vocab_size=64, ntk_length=32768, rope_parameters=plain).ntk_length == 32768
