"""Outputs that engines have to read, and the tools that they may call."""

from __future__ import annotations

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "edit",
            "description": "Edit a file",
            "parameters": {
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "text": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "line": {"type": "integer"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["path"],
            },
        },
    }
]

CODER = {
    "an answer": "think\n</think>the answer\n",
    "one call": "I edit.</think><tool_call>edit<param_key>path</param_key><param_value>a.py</param_value></tool_call>",
    "indentation is kept": (
        "</think><tool_call>edit<param_key>path</param_key><param_value>a.py</param_value>"
        "<param_key>text</param_key><param_value>    if x:\n        y\n</param_value></tool_call>"
    ),
    "typed by the schema": (
        "t</think><tool_call>edit<param_key>path</param_key><param_value>123</param_value>"
        '<param_key>line</param_key><param_value>7</param_value><param_key>tags</param_key><param_value>["a"]</param_value></tool_call>'
    ),
    "text and two calls": (
        "t</think>First.<tool_call>edit<param_key>path</param_key><param_value>a</param_value></tool_call>"
        "<tool_call>edit<param_key>path</param_key><param_value>b</param_value></tool_call>"
    ),
    "tags inside a value": (
        "t</think><tool_call>edit<param_key>path</param_key><param_value>see </param_value> and </tool_call> here"
        "</param_value></tool_call>"
    ),
    "a call in the thinking is no call": "<tool_call>edit</tool_call></think>done",
    "cut off in a call": "t</think><tool_call>edit<param_key>path</param_key><param_value>a.p",
    "cut off in the thinking": "t and more </thi",
    "cut off in a tag": "t</think>look at <tool_",
    "a stray end": "t</think>a </tool_call> b",
    "emoji and Chinese": (
        "想</think>好👍<tool_call>edit<param_key>path</param_key><param_value>文件👍.py</param_value></tool_call>"
    ),
}
CLASSIC = {
    "an answer": "the answer",
    "one call": '<tool_call>\n{"name": "edit", "arguments": {"path": "a.py", "line": 3}}\n</tool_call>',
    "text and two calls": (
        'First.\n<tool_call>\n{"name": "edit", "arguments": {"path": "a"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "edit", "arguments": {"path": "b\\n  c"}}\n</tool_call>'
    ),
    "cut off in a call": '<tool_call>\n{"name": "edit", "arguments": {"path": "a',
}
