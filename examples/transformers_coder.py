"""TeleChat3-Coder with transformers, as on its card."""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import telechat  # noqa: F401  (makes transformers know the family; no remote code runs)

NAME = sys.argv[1] if len(sys.argv) > 1 else "Tele-AI/TeleChat3-Coder-36B-Thinking"
LENGTH = int(sys.argv[2]) if len(sys.argv) > 2 else 16384

tokenizer = AutoTokenizer.from_pretrained(NAME, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(NAME, trust_remote_code=True, device_map="auto", torch_dtype=torch.bfloat16)
prompt = "生抽与老抽的区别?"
messages = [{"role": "user", "content": prompt}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
model_inputs = tokenizer(text, return_tensors="pt").to(model.device)
generated_ids = model.generate(**model_inputs, top_p=0.95, temperature=0.6, repetition_penalty=1.0, max_new_tokens=LENGTH)
response = tokenizer.decode(generated_ids[0], skip_special_tokens=False, spaces_between_special_tokens=False)
answer = response.split("</think>")[-1].strip()
print(answer)
