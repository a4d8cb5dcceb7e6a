"""The official Anthropic client against `telechat serve MODEL`: thinking, a tool call, and its result."""

import sys

from anthropic import Anthropic

MODEL = sys.argv[1] if len(sys.argv) > 1 else "TeleChat3-Coder-36B-Thinking"
URL = sys.argv[2] if len(sys.argv) > 2 else "http://localhost:8000"
MAX_TOKENS = int(sys.argv[3]) if len(sys.argv) > 3 else 16384

TOOL = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

client = Anthropic(api_key="EMPTY", base_url=URL)
messages = [{"role": "user", "content": "上海今天天气怎么样？"}]
answer = client.messages.create(model=MODEL, max_tokens=MAX_TOKENS, tools=[TOOL], messages=messages)
print("Answer:", answer)

calls = [block for block in answer.content if block.type == "tool_use"]
if calls:  # the history goes back as it came, thinking included: it belongs to the turn that goes on
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "晴，26 度"} for call in calls]
    messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    with client.messages.stream(model=MODEL, max_tokens=MAX_TOKENS, tools=[TOOL], messages=messages) as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
print()
