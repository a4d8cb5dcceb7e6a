"""The part of `telechat bench serve` that runs the same weights in llama.cpp, where `telechat[bench]` is installed.

TeleChat3 computes what Llama computes, so its tensors go into a GGUF file of that architecture. llama.cpp is used as the
wheel of `xllamacpp` brings it (on x86-64: built for AVX2), its server within this process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from telechat.core.errors import UserError

# name in transformers → name in GGUF, of one layer
LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
UNKNOWN, CONTROL, NORMAL = 2, 3, 1  # kinds of tokens in GGUF


def is_installed() -> bool:
    """Whether there is a llama.cpp to compare with."""
    return find_spec("gguf") is not None and find_spec("xllamacpp") is not None


def write_gguf(model: Any, file: Path, eight_bits: bool = False) -> None:
    """The model's weights as GGUF: float32, or Q8_0 for its matrices. Its tokens have no text of their own, since the
    benches send ids. Raises `UserError` for a model with rotary scaling."""
    import gguf

    config = model.config
    if config.rope_parameters.get("rope_type", "default") != "default":
        raise UserError("llama.cpp: the benches compare models without rotary scaling only")
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"t{i}" for i in range(3, config.vocab_size))])
    writer.add_token_scores([0.0] * config.vocab_size)
    writer.add_token_types([UNKNOWN, CONTROL, CONTROL, *[NORMAL] * (config.vocab_size - 3)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, tensor in _tensors(model):
        if eight_bits and tensor.ndim == 2:
            small = gguf.quants.quantize(tensor, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, small, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(model: Any) -> list[tuple[str, np.ndarray]]:
    """Names and numbers as GGUF has them."""
    config = model.config
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
    found = []
    for name, tensor in model.state_dict().items():
        numbers = np.ascontiguousarray(tensor.detach().float().numpy())
        if name in WHOLE:
            found.append((WHOLE[name], numbers))
        elif name == "lm_head.weight":
            if not config.tie_word_embeddings:
                found.append(("output.weight", numbers))
        else:
            _, _, layer, part = name.removesuffix(".weight").split(".", 3)
            if part in heads:
                numbers = _in_pairs(numbers, heads[part])
            found.append((f"blk.{layer}.{LAYER[part]}.weight", numbers))
    return found


def _in_pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k (heads · dim, hidden) in llama.cpp's order: it turns neighbours where Llama turns halves."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


class LlamaCpp:
    """A server of llama.cpp for `slots` requests of `length` tokens at a time, on torch's number of threads."""

    def __init__(self, model: Any, slots: int, length: int, eight_bits: bool = False) -> None:
        import xllamacpp

        self._folder = tempfile.TemporaryDirectory(prefix="telechat-bench-")
        file = Path(self._folder.name) / "model.gguf"
        write_gguf(model, file, eight_bits)
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel = slots * length, slots
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.verbosity = -1
        self._server = xllamacpp.Server(params)
        self._pool = ThreadPoolExecutor(slots)

    def complete(self, prompt: Sequence[int], tokens: int, **fields: Any) -> dict[str, Any]:
        """The greedy answer of `tokens` tokens to `prompt`, as llama.cpp's server gives it, `timings` with it."""
        body = {"prompt": list(prompt), "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        return self._server.handle_completions({**body, **fields})

    def complete_all(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[dict[str, Any]]:
        """`complete` of all prompts at once."""
        return list(self._pool.map(lambda prompt: self.complete(prompt, tokens), prompts))

    def close(self) -> None:
        """Stop the server and delete its file."""
        self._pool.shutdown()
        del self._server
        self._folder.cleanup()
