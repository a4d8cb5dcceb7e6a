"""A conversation as segments: text that people wrote, control words that the format supplies, and what is trained.

This is the one place that decides how messages are laid out. `render` joins the segments to text or encodes them;
the Jinja templates say the same for other programs, and tests hold the two equal byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from telechat.chat.formats import (
    BOT,
    CALL,
    CALL_END,
    CONTROL_PATTERN,
    END,
    RESPONSE,
    RESPONSE_END,
    SYSTEM,
    THINK_END,
    USER,
    Format,
)
from telechat.core.errors import UserError
from telechat.core.types import Message, ToolCall


class Segment(NamedTuple):
    """A stretch of a rendered conversation. `control`: one control word; `trained`: the model generates it."""

    text: str
    control: bool
    trained: bool


class _Writer:
    """Collects segments; neighbouring text of one kind becomes one segment."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []

    def control(self, word: str, trained: bool = False) -> None:
        self.segments.append(Segment(word, True, trained))

    def text(self, text: str | None, trained: bool = False) -> None:
        if not text:
            return
        last = self.segments[-1] if self.segments else None
        if last is not None and not last.control and last.trained == trained:
            self.segments[-1] = Segment(last.text + text, False, trained)
        else:
            self.segments.append(Segment(text, False, trained))

    def template(self, text: str) -> None:
        """Text of the format itself: the control words in it are control words."""
        start = 0
        for match in CONTROL_PATTERN.finditer(text):
            self.text(text[start : match.start()])
            self.control(match.group())
            start = match.end()
        self.text(text[start:])


def segments(
    fmt: Format,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] = (),
    add_generation_prompt: bool = True,
    clear_thinking: bool = True,
    continue_final_message: bool = False,
    as_generated: bool = False,
) -> list[Segment]:
    """The segments of a conversation; joined, they are the text of the format's Jinja template.

    `clear_thinking=False` shows the thinking of all turns (formats that show any). `continue_final_message` leaves the
    last assistant message open after its content (or inside its thinking, when it has no content) and adds no
    generation prompt. `as_generated` writes the assistant turns after the last user message as the model generates
    them, from the generation prompt on: that is what is trained, and the only case where the text may differ from
    the template's. Raises `UserError` for conversations that no format can show.
    """
    _check(messages)
    writer = _Writer()
    first = messages[0]
    _system(writer, fmt, first.content or "" if first.role == "system" else None, tools)
    last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
    for i, message in enumerate(messages):
        if message.role == "assistant":
            if continue_final_message and i == len(messages) - 1:
                break
            if as_generated and i > last_user:
                writer.template(fmt.generation_prompt)
                _completion(writer, fmt, message)
            else:
                _turn(writer, fmt, message, show_thinking=not clear_thinking or i > last_user)
            writer.text(fmt.turn_end)
        elif message.role != "system":
            _incoming(writer, fmt, message, opens=i == 0 or messages[i - 1].role != "tool")
    if continue_final_message:
        _open_turn(writer, fmt, messages[-1])
    elif add_generation_prompt:
        writer.template(fmt.generation_prompt)
    return writer.segments


def completion_segments(fmt: Format, message: Message) -> list[Segment]:
    """The generation prompt and, trained, the message exactly as the model generates it behind, `<_end>` included."""
    writer = _Writer()
    writer.template(fmt.generation_prompt)
    _completion(writer, fmt, message)
    return writer.segments


def incoming_segments(fmt: Format, messages: Sequence[Message]) -> list[Segment]:
    """What follows a finished assistant turn: its end, tool results and user messages, the next generation prompt."""
    writer = _Writer()
    writer.text(fmt.turn_end)
    for i, message in enumerate(messages):
        if message.role not in ("user", "tool"):
            raise UserError(f"a {message.role} message cannot follow a generated turn: give tool results and user messages")
        _incoming(writer, fmt, message, opens=i == 0 or messages[i - 1].role != "tool")
    writer.template(fmt.generation_prompt)
    return writer.segments


def split_thinking(message: Message) -> tuple[str, str]:
    """(thinking, content) of an assistant message, thinking from its own field or from `<think>` in the content."""
    content = message.content or ""
    if message.reasoning_content is not None:
        return message.reasoning_content, content
    if THINK_END not in content:
        return "", content
    before, after = content.split(THINK_END, 1)[0], content.rsplit(THINK_END, 1)[1]
    return before.rstrip("\n").rsplit("<think>", 1)[-1].lstrip("\n"), after.lstrip("\n")


def _check(messages: Sequence[Message]) -> None:
    if not messages:
        raise UserError("the conversation is empty: give at least one message")
    late = next((i for i, m in enumerate(messages) if m.role == "system" and i > 0), None)
    if late is not None:
        raise UserError(f"message {late} is a system message: only the first message may be one")


def _system(writer: _Writer, fmt: Format, system: str | None, tools: Sequence[Mapping[str, Any]]) -> None:
    writer.control(SYSTEM)
    writer.text(system or fmt.default_system)
    if tools:
        writer.template(fmt.tools_head)
        writer.text("\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
        writer.template(fmt.tools_tail)
    elif system is not None or fmt.system_always:
        writer.text(fmt.system_end)


def _incoming(writer: _Writer, fmt: Format, message: Message, opens: bool) -> None:
    """A user message or a tool result; `opens` says that it is the first result of a run."""
    if message.role == "user":
        writer.control(USER)
        writer.text(message.content)
        return
    if opens:
        writer.control(fmt.observation)
    elif fmt.calls == "json":
        writer.text("\n")
    edge = "\n" if fmt.calls == "json" else ""
    writer.control(RESPONSE)
    writer.text(edge + (message.content or "") + edge)
    writer.control(RESPONSE_END)


def _turn(writer: _Writer, fmt: Format, message: Message, show_thinking: bool) -> None:
    """An assistant turn of the past, as the template shows it, up to `<_end>`."""
    if fmt.thinking == "current" and show_thinking and split_thinking(message)[0]:
        writer.template(fmt.generation_prompt)
        _completion(writer, fmt, message)
        return
    writer.control(BOT)
    if fmt.thinking == "current":
        writer.control(THINK_END)
    writer.text(_shown_content(fmt, message, thought=False), True)
    _calls(writer, fmt, message.tool_calls)
    writer.control(END, True)


def _shown_content(fmt: Format, message: Message, thought: bool = True) -> str:
    """The content as the format writes it; `thought`: behind the message's thinking, if it has any."""
    content = message.content or ""
    if fmt.thinking == "current":
        thinking, content = split_thinking(message)
        return content.strip() if thought and thinking else content
    if fmt.thinking == "dropped":
        return content.rsplit(THINK_END, 1)[-1].lstrip("\n")
    return content


def _completion(writer: _Writer, fmt: Format, message: Message) -> None:
    thinking = split_thinking(message)[0]
    if fmt.thinking == "current":
        if thinking:
            writer.text(f"\n{thinking.strip()}\n", True)
        writer.control(THINK_END, True)
    elif fmt.thinking == "dropped":
        writer.text(f"{thinking.strip()}\n", True)
        writer.control(THINK_END, True)
        writer.text("\n", True)
    writer.text(_shown_content(fmt, message), True)
    _calls(writer, fmt, message.tool_calls)
    writer.control(END, True)


def _calls(writer: _Writer, fmt: Format, calls: Sequence[ToolCall]) -> None:
    for i, call in enumerate(calls):
        if fmt.calls == "json":
            writer.text("\n" if i else "", True)
            body = f'\n{{"name": "{call.name}", "arguments": {json.dumps(call.arguments, ensure_ascii=False)}}}\n'
        else:
            pairs = [f"<param_key>{k}</param_key><param_value>{_value(v)}</param_value>" for k, v in call.arguments.items()]
            body = call.name + "".join(pairs)
        writer.control(CALL, True)
        writer.text(body, True)
        writer.control(CALL_END, True)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _open_turn(writer: _Writer, fmt: Format, message: Message) -> None:
    """The final assistant message, left open for the model to go on with; trailing space as the template leaves it."""
    if message.role != "assistant":
        raise UserError("only an assistant message can be continued, and the last message is not one")
    thinking, content = split_thinking(message)
    if message.content is None:
        if not message.reasoning_content or fmt.thinking != "current":
            raise UserError("the last message has no content to continue")
        writer.template(fmt.generation_prompt)
        writer.text(("\n" + thinking.lstrip()).rstrip() or "\n", True)
        return
    if fmt.thinking == "current":
        if thinking:
            writer.template(fmt.generation_prompt)
            writer.text(f"\n{thinking.strip()}\n", True)
            writer.control(THINK_END, True)
        else:
            writer.control(BOT)
            writer.control(THINK_END)
        writer.text(content.strip() if thinking else content, True)
    else:
        writer.control(BOT)
        writer.text(_shown_content(fmt, message), True)
