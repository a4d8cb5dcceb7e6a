"""The chat formats for other programs: Jinja templates and response templates, and how a tokenizer gets them.

transformers, vLLM and SGLang read both from the tokenizer. The templates mark what is trained (`{% generation %}`) and
say what `render` says, byte for byte.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from telechat.chat.formats import Format

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_XML_CALLS = {
    "open_pattern": r"\s*<tool_call>\s*(?P<name>[^<\s]+)\s*",
    "close": "</tool_call>",
    "repeats": True,
    "content": "xml-inline",
    "content_args": {"tag_pattern": r"<param_key>(?P<key>.*?)</param_key>\s*<param_value>(?P<value>.*?)</param_value>"},
    "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
}
_JSON_CALLS = {
    "open_pattern": r"\s*<tool_call>",
    "close": "</tool_call>",
    "repeats": True,
    "content": "json",
    "transform": {"type": "function", "function": "{content}"},
}


@cache
def chat_template(fmt: Format) -> str:
    """The Jinja template of a format, complete in itself."""
    values = {
        "default_system": fmt.default_system,
        "system_always": fmt.system_always,
        "thinks": fmt.thinks,
        "generation_prompt": fmt.generation_prompt,
        "tools_head": fmt.tools_head,
        "tools_tail": fmt.tools_tail,
    }
    head = "".join(f"{{%- set {name} = {json.dumps(value, ensure_ascii=False)} -%}}\n" for name, value in values.items())
    folder = files("telechat.chat") / "templates"
    parts = [folder / "macros.jinja", folder / f"{fmt.calls}_calls.jinja"]
    return head + "".join(part.read_text(encoding="utf-8") for part in parts).rstrip("\n")


def response_template(fmt: Format) -> dict[str, Any]:
    """What transformers' `parse_response` and the `hf` parsers of vLLM and SGLang need to read an output.

    They handle whole, well-formed outputs; `telechat.chat.parser` is the parser for everything else.
    """
    fields: dict[str, Any] = {}
    if fmt.thinks:
        fields["thinking"] = {"open": "<think>", "close": "</think>", "content": "text"}
    fields["tool_calls"] = dict(_XML_CALLS if fmt.calls == "xml" else _JSON_CALLS)
    fields["content"] = {"close_pattern": r"\s*<_end>\s*", "content": "text"}
    return {"defaults": {"role": "assistant"}, "start_anchor": "<_bot>", "fields": fields}


def attach(tokenizer: PreTrainedTokenizerBase, fmt: Format) -> None:
    """Give a tokenizer the format's templates; `save_pretrained` keeps them with the checkpoint."""
    tokenizer.chat_template = chat_template(fmt)
    tokenizer.response_template = response_template(fmt)
