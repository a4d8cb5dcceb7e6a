"""A small checkpoint of another family: a Llama with a ChatML template, thinking and calls as Qwen writes them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ROLES = ["<|user|>"]  # of a family that does not call its role markers special
SPOKEN = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
CHATML = """{%- if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif -%}
{%- for m in messages %}
{%- if m.role == 'wizard' %}{{ raise_exception('no wizards here') }}{% endif -%}
<|im_start|>{{ m.role }}
{{ m.content | trim }}
{%- for call in m.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def chatml_tokenizer(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer as Qwen's: special words for turns, added words that are not special for thinking and calls."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=WORDS)
    core.train_from_iterator(["the user and the assistant say hello"] * 4, trainer)
    core.add_tokens([*SPOKEN, *ROLES, "    "])
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>")
    made.chat_template = template
    return made


def llama_folder(folder: Path) -> Path:
    """A random Llama of two layers with that tokenizer, saved by transformers."""
    tokenizer = chatml_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 0, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=256, **sizes, **ends)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
