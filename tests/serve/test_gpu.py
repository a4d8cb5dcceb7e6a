"""The server and `LLM` on a CUDA device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch

from telechat import LLM, SamplingParams
from telechat.serve.session import ChatModel
from telechat.serve.worker import Worker

from .conftest import serving

pytestmark = pytest.mark.gpu


def test_offline_answers_are_the_models_own(checkpoint):
    llm = LLM(model=checkpoint, dtype="float32")
    chat = ChatModel.load(checkpoint, dtype="float32")
    assert chat.model.device.type == "cuda"
    (output,) = llm.generate(["hello"], SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True, repetition_penalty=1.0))
    prompt = torch.tensor([output.prompt_token_ids], device="cuda")
    found = chat.model.generate(prompt, max_new_tokens=12, min_new_tokens=12, do_sample=False, repetition_penalty=1.0)
    assert found[0, prompt.shape[1] :].tolist() == output.outputs[0].token_ids


def test_many_clients_at_once_get_what_each_gets_alone(checkpoint):
    chat = ChatModel.load(checkpoint, dtype="float32")
    bodies = [
        {"model": "toy", "messages": [{"role": "user", "content": f"say {n}"}], "max_tokens": 16, "temperature": 0.0}
        for n in range(24)
    ]
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
    bodies[5]["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    worker = Worker(lambda: chat.engine(8, fair=True))
    with serving(chat, worker) as url:

        def ask(body):
            return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]["message"]

        with ThreadPoolExecutor(24) as pool:
            together = list(pool.map(ask, bodies))
        assert together == [ask(body) for body in bodies]
