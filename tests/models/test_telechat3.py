"""TeleChat3 is Llama with its own YaRN temperature, known to the Auto classes."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from telechat.core.errors import UserError
from telechat.models.configuration import Telechat3Config
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
