"""The four chat formats of the family, as data: which words begin and end a turn, and how calls are written.

A format is a name and a handful of strings; `render` turns messages into text by them and `parser` reads what a model
generates. The family has one set of control words; formats differ in what stands between them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from telechat.core.errors import UserError

SYSTEM, USER, BOT, OBSERVATION, END = "<_system>", "<_user>", "<_bot>", "<_observation>", "<_end>"
THINK, THINK_END = "<think>", "</think>"
CALL, CALL_END = "<tool_call>", "</tool_call>"
RESPONSE, RESPONSE_END = "<tool_response>", "</tool_response>"

CONTROL_WORDS: tuple[str, ...] = (
    SYSTEM,
    USER,
    BOT,
    OBSERVATION,
    END,
    THINK,
    THINK_END,
    CALL,
    CALL_END,
    RESPONSE,
    RESPONSE_END,
)
"""Words that are one token each where the template writes them; typed inside a message they are ordinary text."""

REQUIRED_WORDS: tuple[str, ...] = (SYSTEM, USER, BOT, END)
"""Words without which no format can be rendered; a vocabulary may lack the others, which are then spelled as text."""

OTHER_FAMILY = "template"
"""The format of a model of another family, which has a chat template of its own (`template_render`)."""

CONTROL_PATTERN = re.compile("|".join(re.escape(word) for word in CONTROL_WORDS))

DEFAULT_SYSTEM = (
    "你是中国电信星辰语义大模型，英文名是TeleChat，"
    "你是由中电信人工智能科技有限公司和中国电信人工智能研究院（TeleAI）研发的人工智能助手。"
)

_JSON_TOOLS_HEAD = (
    "\n\n# 可用工具\n你可以调用<tools></tools>标签中包含的一个或多个工具来辅助你回答问题,以下是可用工具详情：\n<tools>\n"
)
_JSON_TOOLS_TAIL = (
    "\n</tools>\n\n# 调用方法\n你需要遵循工具的要求，使用json格式返回工具名称及参数，并用<tool_call></tool_call>包含。"
    '下方是一个调用模板：\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>\n\n'
)
_XML_TOOLS_HEAD = (
    "\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
)
_XML_TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, output the function name and arguments within the following XML format:\n"
    "<tool_call>{function-name}<param_key>{param-key-1}</param_key><param_value>{param-value-1}</param_value>"
    "<param_key>{param-key-2}</param_key><param_value>{param-value-2}</param_value>...</tool_call>"
)


@dataclass(frozen=True)
class Format:
    """One chat format.

    `thinking`: `none` (the model does not think), `dropped` (it thinks, and no thinking is ever shown again) or
    `current` (thinking is shown again until the next user turn). `calls`: `json` (an object inside `<tool_call>`) or
    `xml` (name, `<param_key>`, `<param_value>`).
    """

    name: str
    thinking: Literal["none", "dropped", "current"]
    calls: Literal["json", "xml"]
    default_system: str
    system_always: bool
    """A conversation without a system message and without tools still gets `system_end`."""
    system_end: str
    turn_end: str
    """What the format writes after `<_end>`."""
    generation_prompt: str
    tools_head: str
    tools_tail: str

    @property
    def thinks(self) -> bool:
        """Generation begins inside `<think>`."""
        return self.thinking != "none"

    @property
    def observation(self) -> str:
        """The word that opens a run of tool results."""
        return OBSERVATION if self.calls == "xml" else USER


_CLASSIC = Format(
    name="telechat2.5",
    thinking="none",
    calls="json",
    default_system=DEFAULT_SYSTEM,
    system_always=True,
    system_end="\n",
    turn_end="\n",
    generation_prompt=BOT,
    tools_head=_JSON_TOOLS_HEAD,
    tools_tail=_JSON_TOOLS_TAIL,
)

FORMATS: dict[str, Format] = {
    "telechat2.5": _CLASSIC,
    "t1": Format(**{**vars(_CLASSIC), "name": "t1", "thinking": "dropped", "generation_prompt": BOT + THINK + "\n"}),
    "telechat3": Format(
        name="telechat3",
        thinking="dropped",
        calls="json",
        default_system="",
        system_always=False,
        system_end="\n",
        turn_end="\n",
        generation_prompt=BOT + THINK + "\n",
        tools_head=_JSON_TOOLS_HEAD,
        tools_tail=_JSON_TOOLS_TAIL,
    ),
    "telechat3-coder": Format(
        name="telechat3-coder",
        thinking="current",
        calls="xml",
        default_system="",
        system_always=False,
        system_end="",
        turn_end="",
        generation_prompt=BOT + THINK,
        tools_head=_XML_TOOLS_HEAD,
        tools_tail=_XML_TOOLS_TAIL,
    ),
}


def get_format(name: str) -> Format:
    """The format of this name. Raises `UserError`, naming the nearest ones, when there is none."""
    if name in FORMATS:
        return FORMATS[name]
    near = get_close_matches(name, FORMATS, n=2, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(FORMATS)}"
    raise UserError(f"unknown chat format {name!r}: {hint}")
