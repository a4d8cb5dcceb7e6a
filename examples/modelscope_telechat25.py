"""TeleChat2.5 with ModelScope, as on its card."""

import sys

import torch
from modelscope import AutoModelForCausalLM, AutoTokenizer

import telechat  # noqa: F401  (makes transformers know the family; no remote code runs)

NAME = sys.argv[1] if len(sys.argv) > 1 else "TeleAI/TeleChat2.5-35B"

tokenizer = AutoTokenizer.from_pretrained(NAME, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(NAME, trust_remote_code=True, device_map="auto", torch_dtype=torch.bfloat16)
prompt = "生抽与老抽的区别？"
messages = [{"role": "user", "content": prompt}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
model_inputs = tokenizer([text], return_tensors="pt").to(model.device)
generated_ids = model.generate(**model_inputs)
generated_ids = [
    output_ids[len(input_ids) :] for input_ids, output_ids in zip(model_inputs.input_ids, generated_ids, strict=True)
]
response = tokenizer.batch_decode(generated_ids, skip_special_tokens=True)[0]
print(response)
