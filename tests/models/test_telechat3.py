"""TeleChat3 is Llama with its own YaRN temperature, known to the Auto classes."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from telechat.core.errors import UserError
from telechat.engine import Engine, SamplingParams
from telechat.models.configuration import Telechat3Config, context_of
from telechat.models.examine import examine
from telechat.models.loading import check_folder, load_model
from telechat.models.telechat3 import Telechat3ForCausalLM

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def test_logits_equal_llamas_with_the_same_weights():
    torch.manual_seed(0)
    ours = Telechat3ForCausalLM(Telechat3Config(**SIZES)).eval()
    llama = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    llama.load_state_dict(ours.state_dict())
    ids = torch.randint(0, 64, (2, 20))
    torch.testing.assert_close(ours(ids).logits, llama(ids).logits, atol=1e-6, rtol=0)


def test_the_published_rope_scaling_becomes_yarn_with_its_own_temperature():
    scaling = {"rope_type": "telechat3-yarn", "type": "telechat3-yarn", "factor": 4.0, "original_max_position_embeddings": 8192}
    config = Telechat3Config(**SIZES, rope_theta=1e6, rope_scaling=scaling, max_position_embeddings=32768)
    assert config.rope_parameters["rope_type"] == "yarn"
    # 0.07 · ln 4 + 1, by hand
    assert config.rope_parameters["attention_factor"] == pytest.approx(1.0970406, abs=1e-6)
    assert Telechat3ForCausalLM(config).model.rotary_emb.attention_scaling == pytest.approx(1.0970406, abs=1e-6)


def published_36b(**changes: object) -> Telechat3Config:
    """The published configuration of TeleChat3-36B-Thinking."""
    scaling = {"rope_type": "telechat3-yarn", "type": "telechat3-yarn", "factor": 4.0, "original_max_position_embeddings": 8192}
    sizes = {"vocab_size": 131072, "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 64}
    heads = {"num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128}
    settings = {"max_position_embeddings": 32768, "rope_theta": 1e6, "rope_scaling": scaling, "tie_word_embeddings": False}
    return Telechat3Config(**{**sizes, **heads, **settings, **changes})


def test_the_parameter_count_of_36b_is_the_published_one():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(published_36b())
    assert type(model) is Telechat3ForCausalLM
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(36.25, abs=0.02)


@pytest.mark.parametrize("declared", [32768, 131072])
def test_the_context_ends_where_the_rotary_scaling_ends(declared):
    assert context_of(published_36b(max_position_embeddings=declared)) == 32768
    assert context_of(Telechat3Config(**SIZES, max_position_embeddings=4096)) == 4096


def test_the_engine_guards_the_context():
    scaling = {"rope_type": "telechat3-yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    config = Telechat3Config(**SIZES, rope_theta=1e6, rope_scaling=scaling, max_position_embeddings=4096)
    engine = Engine(Telechat3ForCausalLM(config).eval())
    assert engine.max_len == 64
    with pytest.raises(UserError, match="context ends at 64"):
        engine.add([5] * 64, [SamplingParams()])


def test_105b_is_a_deepseek_v3_of_transformers(tmp_path):
    """TeleChat3-105B-A4.7B: transformers' own class, with the published sizes; a small one loads and answers."""
    sizes = {
        "vocab_size": 131072, "hidden_size": 2560, "intermediate_size": 7680, "moe_intermediate_size": 1536,
        "num_hidden_layers": 45, "num_attention_heads": 32, "num_key_value_heads": 32, "q_lora_rank": 1536,
        "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 192,
        "num_experts_per_tok": 4, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
        "tie_word_embeddings": False,
    }  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("deepseek_v3", **sizes))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(
        105, rel=0.03
    )  # without the layer that predicts two tokens at once
    small = {**sizes, "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16}
    small |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 16}
    small |= {"kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "n_routed_experts": 8}
    AutoModelForCausalLM.from_config(AutoConfig.for_model("deepseek_v3", **small)).save_pretrained(tmp_path)
    loaded = load_model(tmp_path, device="cpu")
    assert loaded.generate(
        torch.tensor([[5, 6, 7]]), max_new_tokens=4, min_new_tokens=4, do_sample=False, pad_token_id=0
    ).shape == (1, 7)
    assert "105B" in examine(tmp_path).what


def test_a_checkpoint_loads_through_the_auto_classes(tmp_path):
    model = Telechat3ForCausalLM(Telechat3Config(**SIZES)).eval()
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == "telechat3"
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(again) is Telechat3ForCausalLM
    ids = torch.randint(0, 64, (1, 9))
    assert torch.equal(again(ids).logits, model(ids).logits)


@pytest.mark.parametrize("make", ["missing", "file", "empty", "no weights", "broken config"])
def test_a_folder_that_is_no_checkpoint_is_explained(tmp_path, make):
    path = tmp_path / "model"
    if make == "file":
        path.write_text("x")
    elif make != "missing":
        path.mkdir()
    if make in ("no weights", "broken config"):
        (path / "config.json").write_text("{}" if make == "no weights" else "{oops")
    if make == "broken config":
        (path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError) as error:
        load_model(path)
    assert str(path) in str(error.value)
    if make not in ("broken config",):
        with pytest.raises(UserError):
            check_folder(path)
