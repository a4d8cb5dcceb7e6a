"""A model of another family, by its own template: thinking, calls and streams as for the models of this one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from telechat.engine import Engine
from telechat.serve.session import ChatModel
from telechat.serve.worker import Worker
from tests.other_family import llama_folder

from .conftest import serving
from .scripted import ScriptedEngine
from .test_chat_completions import HI, WEATHER, ask, client_of

SAYS = """<think>
rain?
</think>

Let me look.
<tool_call>
{"name": "weather", "arguments": {"city": "Paris", "days": "2"}}
</tool_call><|im_end|>"""


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> ChatModel:
    return ChatModel.load(llama_folder(tmp_path_factory.mktemp("models") / "llama"))


def test_it_answers_what_transformers_generates(llama):
    with serving(llama, Worker(lambda: Engine(llama.model, slots=4, fair=True))) as url:
        answer = ask(url, temperature=0, max_tokens=12)
    prompt = llama.tokenizer.apply_chat_template(HI, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = llama.model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert answer.usage.prompt_tokens == prompt["input_ids"].shape[1]
    expected = llama.tokenizer.decode(ids, skip_special_tokens=True)
    assert (answer.choices[0].message.content or "").strip() == expected.strip()


def test_thinking_and_calls_are_read(llama):
    script = llama.tokenizer(SAYS, add_special_tokens=False)["input_ids"]
    days = {"type": "integer"}
    tool = json.loads(json.dumps(WEATHER))
    tool["function"]["parameters"]["properties"]["days"] = days
    with serving(llama, Worker(lambda: ScriptedEngine(lambda prompt, sample: script))) as url:
        message = ask(url, tools=[tool]).choices[0].message
        chunks = list(client_of(url).chat.completions.create(model="toy", messages=HI, tools=[tool], stream=True))
    assert message.reasoning_content == "rain?"
    assert message.content == "Let me look."
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Paris", "days": 2}
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Let me look."
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_forced_call_is_held_to_its_schema(llama):
    pytest.importorskip("llguidance")
    with serving(llama, Worker(lambda: Engine(llama.model, slots=4, fair=True))) as url:
        answer = ask(url, tools=[WEATHER], tool_choice="required", max_tokens=120, seed=1)
    choice = answer.choices[0]
    if choice.finish_reason == "tool_calls":  # a random model may talk in the text argument until its tokens end
        assert set(json.loads(choice.message.tool_calls[0].function.arguments)) <= {"city"}
    else:
        assert choice.finish_reason == "length"
    assert choice.message.tool_calls[0].function.name == "weather"


def test_thinking_that_the_model_opens_itself_stands_before_what_is_forced(llama):
    """A biased first token: the random model thinks, its thinking is bounded, and the JSON comes behind it."""
    pytest.importorskip("llguidance")
    ids = llama.tokenizer.get_vocab()
    properties = {"properties": {"x": {"enum": [1, 2]}}, "required": ["x"], "additionalProperties": False}
    schema = {"name": "n", "schema": {"type": "object", **properties}}
    biased = {str(ids["<think>"]): 100, str(ids["</think>"]): -100}
    with serving(llama, Worker(lambda: Engine(llama.model, slots=4, fair=True))) as url:
        form = {"type": "json_schema", "json_schema": schema}
        answer = ask(url, response_format=form, logit_bias=biased, max_tokens=60, extra_body={"thinking_token_budget": 5})
    message, usage = answer.choices[0].message, answer.usage
    assert message.reasoning_content is not None
    assert json.loads(message.content)["x"] in (1, 2)
    assert usage.completion_tokens_details.reasoning_tokens <= 7


def run(*arguments: str | Path, text: str = "") -> str:
    command = [sys.executable, "-m", "telechat", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False).stdout


def test_the_commands_know_it_by_its_template(tmp_path):
    folder = llama_folder(tmp_path / "llama")
    (tmp_path / "m.json").write_text(json.dumps(HI))
    told = json.loads(run("doctor", folder, "--json"))
    assert (told["loads"], told["format"], told["tool_calls"]) == (True, "template", "json")
    assert told["tool_call_parser"] == "telechat2.5"
    assert any("another family" in line for line in told["odd"])
    shown = run("render", "--model", folder, "--messages", tmp_path / "m.json")
    assert shown == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    parsed = json.loads(run("parse", "--model", folder, "--json", text=SAYS.removesuffix("<|im_end|>")))
    assert parsed["message"]["reasoning_content"] == "rain?"
    command = run("serve", folder, "--engine", "vllm", "--dry-run")
    assert "--chat-template" not in command
    assert "--tool-call-parser telechat2.5" in command
    (folder / "chat_template.jinja").unlink()
    assert any("chat template" in line for line in json.loads(run("doctor", folder, "--json"))["problems"])
