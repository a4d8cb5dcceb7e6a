"""LangChain against `telechat serve MODEL` (`pip install langchain-openai`)."""

import sys

from langchain_openai import ChatOpenAI

MODEL = sys.argv[1] if len(sys.argv) > 1 else "TeleChat3-Coder-36B-Thinking"
URL = sys.argv[2] if len(sys.argv) > 2 else "http://localhost:8000/v1"
MAX_TOKENS = int(sys.argv[3]) if len(sys.argv) > 3 else 16384

chat = ChatOpenAI(model=MODEL, base_url=URL, api_key="EMPTY", temperature=0.6, max_tokens=MAX_TOKENS)
print("Answer:", chat.invoke("生抽和酱油的区别是什么？"))
for chunk in chat.stream("请用一句话介绍你自己。"):
    print(chunk.content, end="", flush=True)
print()
