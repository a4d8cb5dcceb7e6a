"""The plugin in the real vLLM: found by its entry point, and its parsers behind vLLM's own composed parser."""

from __future__ import annotations

import inspect
import json
import pkgutil
import subprocess
import sys
from unittest.mock import MagicMock

import pytest

pytest.importorskip(
    "vllm", exc_type=ImportError, reason="vLLM is not installed here; `make test-plugins` makes an environment with it"
)

from transformers import AutoTokenizer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser.parser_manager import ParserManager
from vllm.plugins import load_general_plugins
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager

from telechat.chat.formats import get_format
from telechat.chat.parser import parse
from tests.models.published import telechat3_coder, telechat25
from tests.plugins.outputs import CLASSIC, CODER, TOOLS

load_general_plugins()
CASES = [("telechat3-coder", "telechat3", "telechat3", name, text) for name, text in CODER.items()]
CASES += [("telechat2.5", "telechat2.5", None, name, text) for name, text in CLASSIC.items()]
cases = pytest.mark.parametrize(("fmt", "tool", "reasoning", "name", "text"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made = {"telechat3-coder": telechat3_coder(folder / "coder"), "telechat2.5": telechat25(folder / "classic")}
    return {name: AutoTokenizer.from_pretrained(path) for name, path in made.items()}


def request(**changes):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": TOOLS, "tool_choice": "auto", **changes}
    return ChatCompletionRequest(**body)


def composed(tokenizer, tool, reasoning, asked):
    known = inspect.signature(ParserManager.get_parser).parameters
    more = {"tokenizer": tokenizer} if "tokenizer" in known else {}  # since 0.32
    return ParserManager.get_parser(tool, reasoning, enable_auto_tools=True, **more)(tokenizer, asked.tools)


def how_vllm_reads_a_message():
    """The function, wherever this version has it: since 0.33, in 0.32, before."""
    places = ["renderers.chat_utils.chat_message:parse", "renderers.chat_utils:_parse", "entrypoints.chat_utils:_parse"]
    for place in places:
        try:
            return pkgutil.resolve_name(f"vllm.{place}_chat_message_content")
        except (ImportError, AttributeError):
            continue
    raise AssertionError(f"none of {places} is there")


def expected(fmt, text):
    message = parse(get_format(fmt), text, TOOLS).message
    return message.reasoning_content, message.content, [(c.name, dict(c.arguments)) for c in message.tool_calls]


def test_names_are_registered():
    assert {"telechat3", "telechat3_coder", "telechat2.5"} <= set(ToolParserManager.list_registered())
    assert {"telechat3", "telechat3_coder"} <= set(ReasoningParserManager.list_registered())


def test_defects_02_and_03_parsers_are_of_the_present_classes_and_take_the_tools(tokenizers):
    """The published ones import what is gone, and their constructors do not take the tools."""
    from vllm.reasoning import ReasoningParser
    from vllm.tool_parsers.abstract_tool_parser import ToolParser

    for name in ("telechat3", "telechat2.5"):
        cls = ToolParserManager.get_tool_parser(name)
        assert issubclass(cls, ToolParser)
        assert cls(tokenizers["telechat3-coder"], request().tools)
    assert issubclass(ReasoningParserManager.get_reasoning_parser("telechat3"), ReasoningParser)


def test_defect_13_the_serving_layer_sees_what_has_been_streamed(tokenizers):
    asked = request()
    parser = ToolParserManager.get_tool_parser("telechat3")(tokenizers["telechat3-coder"], asked.tools)
    text = "<tool_call>edit<param_key>path</param_key><param_value>a b</param_value></tool_call>"
    for character in text:
        parser.extract_tool_calls_streaming("", "", character, [], [], [], asked)
    parser.finish_streaming()
    (known,) = parser.prev_tool_call_arr
    assert known["name"] == "edit"
    assert json.loads(known["arguments"]) == {"path": "a b"}
    assert parser.streamed_args_for_tool == [known["arguments"]]


FORCED = [
    ("required", "<tool_call>edit<param_key>path</param_key><param_value>a <b> c</param_value></tool_call>", True),
    ("required", "I will not call", False),
    ("required", "<tool_call>nothing</tool_call>", False),
    ({"type": "function", "function": {"name": "edit"}}, "<tool_call>edit<param_key>path</param_key><param_value>x", True),
    ({"type": "function", "function": {"name": "edit"}}, "<tool_call>edit<param_key>nonsense", False),
]


@pytest.mark.parametrize(("choice", "text", "allowed"), FORCED)
def test_defect_28_calls_can_be_required_and_named(tokenizers, choice, text, allowed):
    """The request leaves vLLM's own parser with a structural tag that xgrammar compiles and that says what it should."""
    import xgrammar

    tokenizer = tokenizers["telechat3-coder"]
    asked = request(tool_choice=choice)
    composed(tokenizer, "telechat3", "telechat3", asked).adjust_request(asked)
    tag = asked.structured_outputs.structural_tag
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    compiled = xgrammar.GrammarCompiler(info).compile_structural_tag(json.loads(tag))
    assert xgrammar.GrammarMatcher(compiled).accept_string(text) == allowed


def test_a_free_choice_is_not_constrained_unless_a_tool_is_strict(tokenizers):
    tokenizer = tokenizers["telechat3-coder"]
    asked = request()
    composed(tokenizer, "telechat3", "telechat3", asked).adjust_request(asked)
    assert asked.structured_outputs is None


def test_every_published_architecture_is_supported():
    from vllm import ModelRegistry

    wanted = {
        "Telechat3ForCausalLM",
        "TelechatForCausalLM",
        "TeleChatForCausalLM",
        "TeleChat2ForCausalLM",
        "Telechat2ForCausalLM",
    }
    assert wanted <= set(ModelRegistry.get_supported_archs())


def test_registering_twice_is_harmless():
    from telechat.backends.vllm_plugin import register

    register()
    register()


@cases
def test_a_whole_output(tokenizers, fmt, tool, reasoning, name, text):
    asked = request()
    thinking, content, calls = composed(tokenizers[fmt], tool, reasoning, asked).parse(text, asked, enable_auto_tools=True)
    got = thinking, content or None, [(c.name, json.loads(c.arguments)) for c in calls or []]
    assert got == expected(fmt, text)


@cases
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_streamed_output(tokenizers, fmt, tool, reasoning, name, text, size):
    asked, tokenizer = request(), tokenizers[fmt]
    parser = composed(tokenizer, tool, reasoning, asked)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], add_generation_prompt=True)["input_ids"]
    thinking = content = ""
    calls: dict[int, list[str]] = {}
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    for number, piece in enumerate(pieces):
        ids = tokenizer.convert_tokens_to_ids([t for t in ("</think>",) if t in piece])
        delta = parser.parse_delta(piece, ids, asked, prompt, finished=number == len(pieces) - 1)
        if delta is None:
            continue
        thinking += delta.reasoning or ""
        content += delta.content or ""
        for call in delta.tool_calls or []:
            entry = calls.setdefault(call.index, ["", ""])
            entry[0] += call.function.name or ""
            entry[1] += call.function.arguments or ""
    got = thinking or None, content or None, [(n, json.loads(a)) for n, a in calls.values()]
    assert got == expected(fmt, text)


def test_defect_29_clients_need_not_ask_for_special_tokens(tokenizers):
    asked = request()
    assert asked.skip_special_tokens is not False
    composed(tokenizers["telechat3-coder"], "telechat3", "telechat3", asked).adjust_request(asked)
    assert asked.skip_special_tokens is False


def test_the_prompt_says_whether_thinking_is_open(tokenizers):
    tokenizer = tokenizers["telechat3-coder"]
    parser = composed(tokenizer, "telechat3", "telechat3", request())
    talk = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "reasoning_content": "z"}]
    talk.append({"role": "user", "content": "again"})
    ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True)["input_ids"]
    assert not parser.is_reasoning_end(ids)
    assert parser.is_reasoning_end([*ids, tokenizer.convert_tokens_to_ids("</think>")])


def test_defect_04_history_reaches_the_template_with_its_thinking_and_nothing_is_patched(tokenizers):
    """vLLM renames `reasoning_content`; the template must still see it, and arguments as an object."""
    parse_chat_message_content = how_vllm_reads_a_message()
    call = {"id": "1", "type": "function", "function": {"name": "edit", "arguments": '{"path": "a b"}'}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "reasoning_content": "because", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    asked = request(messages=messages)
    shown = []
    for message in asked.messages:
        shown += parse_chat_message_content(message, MagicMock(), "string", False, None)
    for message in shown:
        for made in message.get("tool_calls") or []:
            if isinstance(made["function"]["arguments"], str):
                made["function"]["arguments"] = json.loads(made["function"]["arguments"])
    text = tokenizers["telechat3-coder"].apply_chat_template(shown, tools=TOOLS, tokenize=False, add_generation_prompt=True)
    assert "because\n</think><tool_call>edit<param_key>path</param_key><param_value>a b</param_value></tool_call>" in text


def test_the_attention_factor_of_telechat3_is_its_own(tokenizers):
    """0.07·ln 4 + 1, where plain YaRN has 0.1·ln 4 + 1."""
    import torch
    from transformers import AutoConfig
    from vllm.config import DeviceConfig, VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.rotary_embedding import get_rope

    config = AutoConfig.from_pretrained(tokenizers["telechat3-coder"].name_or_path)
    with set_current_vllm_config(VllmConfig(device_config=DeviceConfig(device="cpu"))):
        rope = get_rope(16, 256, True, rope_parameters=config.rope_parameters, dtype=torch.float32)
    assert rope.mscale == pytest.approx(1.09704, abs=1e-5)


def test_the_plugin_is_light():
    """It runs in every process of vLLM."""
    program = "import sys, telechat.backends.vllm_plugin; print('telechat.backends.vllm_parsers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("delta", [4, 10_000])
def test_the_bench_has_vllms_parser_read_the_same(delta):
    """What `telechat bench parser` times beside ours gives the same calls."""
    from telechat.bench.parser import _TOOLS, _Glm, as_glm, sample_texts

    fmt, text = sample_texts(3000)["many calls (xml)"]
    theirs = _Glm()
    glm = as_glm(text)
    seen = [theirs.feed(glm[i : i + delta]) for i in range(0, len(glm), delta)] + [theirs.finish()]
    arguments: dict[int, str] = {}
    for call in (call for part in seen if part for call in part.tool_calls):
        arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    ours = parse(fmt, text, _TOOLS).message.tool_calls
    assert len(ours) > 3
    assert [json.loads(arguments[i]) for i in sorted(arguments)] == [call.arguments for call in ours]
