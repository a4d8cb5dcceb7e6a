"""TeleChat2.5 offline on telechat's own engine: the card's vLLM example with one import changed."""

import sys

from transformers import AutoTokenizer

from telechat import LLM, SamplingParams

NAME = sys.argv[1] if len(sys.argv) > 1 else "Tele-AI/TeleChat2.5-35B"
MAX_TOKENS = int(sys.argv[2]) if len(sys.argv) > 2 else 8192

tokenizer = AutoTokenizer.from_pretrained(NAME, trust_remote_code=True)
sampling_params = SamplingParams(temperature=0.0, repetition_penalty=1.01, max_tokens=MAX_TOKENS)
llm = LLM(model=NAME, trust_remote_code=True, tensor_parallel_size=4, dtype="bfloat16")

prompt = "生抽和酱油的区别是什么？"
messages = [{"role": "user", "content": prompt}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

outputs = llm.generate([text], sampling_params)
for output in outputs:
    prompt = output.prompt
    generated_text = output.outputs[0].text
    print(f"Prompt: {prompt!r}, Generated text: {generated_text!r}")
