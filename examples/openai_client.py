"""The official OpenAI client against `telechat serve MODEL`, as on the card of TeleChat2.5."""

import sys

from openai import OpenAI

openai_api_key = "EMPTY"
openai_api_base = sys.argv[2] if len(sys.argv) > 2 else "http://localhost:8000/v1"

client = OpenAI(api_key=openai_api_key, base_url=openai_api_base)
chat_response = client.chat.completions.create(
    model=sys.argv[1] if len(sys.argv) > 1 else "TeleChat2.5-35B",
    messages=[
        {"role": "user", "content": "生抽和酱油的区别是什么？"},
    ],
    temperature=0.0,
    max_tokens=int(sys.argv[3]) if len(sys.argv) > 3 else 8192,
    extra_body={
        "repetition_penalty": 1.01,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
    },
)
print("Chat response:", chat_response)
