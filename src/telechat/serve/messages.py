"""`/v1/messages`, Anthropic's API: its requests as chat requests, our answers as its blocks and events.

What belongs to that API only (cache marks, hosted tools, metadata) is accepted and has no effect. A thinking block that
comes back with the history is the thinking of that turn; its signature is ours, an HMAC that says nothing to others.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from pydantic import Field

from telechat.chat.parser import ARGUMENTS, CALL_START, CONTENT, REASONING, Delta
from telechat.core.errors import UserError
from telechat.serve.completions import samples_of
from telechat.serve.foreign import ForeignRequest, objects
from telechat.serve.job import Job
from telechat.serve.run import Run, Sample, failure
from telechat.serve.schemas import MAX_STOPS, MAX_TOKENS, Body, ChatRequest
from telechat.serve.session import ChatModel
from telechat.serve.wire import ApiError, json_bytes
from telechat.serve.worker import EngineFailure, Worker

BILLING = "x-anthropic-billing-header"
"""A system block that begins so differs from request to request: it is of no use to a model and undoes the prefix
cache."""

_KEY = secrets.token_bytes(32)
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class Thinking(Body):
    """Whether thinking is shown, and how long it may be."""

    type: str
    budget_tokens: Annotated[int | None, Field(ge=0, le=MAX_TOKENS)] = None


class OutputConfig(Body):
    """The shape of the answer."""

    format: dict[str, Any] | None = None


class MessagesRequest(ForeignRequest):
    """The body of a messages request."""

    model: str
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    system: str | list[dict[str, Any]] | None = None
    stop_sequences: Annotated[list[str] | None, Field(max_length=MAX_STOPS)] = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None

    @property
    def shows_thinking(self) -> bool:
        """False when the client has switched thinking off: the model still thinks, and nobody is shown it."""
        return self.thinking is None or self.thinking.type != "disabled"

    def as_chat(self) -> ChatRequest:
        """The same request in the OpenAI shape. Raises `ApiError` for what a text model cannot read."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": _conversation(self.system, self.messages),
            "max_tokens": self.max_tokens,
            "stream": self.stream,
            "stop": self.stop_sequences,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "thinking_token_budget": self.thinking.budget_tokens if self.thinking else None,
            **_tools(self.tools, self.tool_choice),
        }
        shape = self.output_config.format if self.output_config else None
        if shape is not None and shape.get("type") == "json_schema":
            body["response_format"] = {"type": "json_schema", "json_schema": {"schema": shape.get("schema")}}
        return self.checked(body)


class CountRequest(ForeignRequest):
    """The body of a count_tokens request."""

    model: str
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None

    def as_chat(self) -> ChatRequest:
        """The same request in the OpenAI shape."""
        tools = _tools(self.tools, self.tool_choice)
        return self.checked({"model": self.model, "messages": _conversation(self.system, self.messages), **tools})


def _conversation(system: str | list[dict[str, Any]] | None, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    given = [{"type": "text", "text": system}] if isinstance(system, str) else system or []
    texts = [str(b.get("text", "")) for b in given if b.get("type", "text") == "text"]
    kept = [text for text in texts if not text.startswith(BILLING)]
    if kept:
        out.append({"role": "system", "content": "\n\n".join(kept)})
    for number, message in enumerate(messages):
        where = f"messages.{number}.content"
        blocks = _blocks(message.get("content"), where)
        out += [_assistant(blocks, where)] if message.get("role") == "assistant" else _incoming(blocks, where)
    return out


def _blocks(content: Any, where: str) -> list[Mapping[str, Any]]:
    """Content as blocks; a text is one of them."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else objects(content, where)


def _text(block: Mapping[str, Any], where: str) -> str:
    kind = block.get("type")
    if kind == "text" and isinstance(block.get("text"), str):
        return str(block["text"])
    raise ApiError(400, f"{where}: a block of type {kind!r} cannot be read; this is a text model", where)


def _incoming(blocks: Sequence[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """A message of the user: tool results first, each a message of its own, then what the user says."""
    results, texts = [], []
    for block in blocks:
        if block.get("type") == "tool_result":
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _result(block, where)})
        elif block.get("type") not in ("tool_reference",):
            texts.append(_text(block, where))
    return [*results, *([{"role": "user", "content": "\n".join(texts)}] if texts or not results else [])]


def _result(block: Mapping[str, Any], where: str) -> str:
    text = "\n".join(_text(part, where) for part in _blocks(block.get("content") or "", where))
    return f"Error: {text}" if block.get("is_error") else text


def _assistant(blocks: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    texts, thoughts, calls = [], [], []
    for block in blocks:
        kind = block.get("type")
        if kind == "thinking":
            thoughts.append(str(block.get("thinking", "")))
        elif kind == "tool_use":
            function = {"name": block.get("name"), "arguments": block.get("input") or {}}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind != "redacted_thinking":
            texts.append(_text(block, where))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _tools(tools: Sequence[Mapping[str, Any]] | None, choice: Mapping[str, Any] | None) -> dict[str, Any]:
    """Tools and the choice of one in the OpenAI shape; hosted tools, which only their maker can run, are left out."""
    body: dict[str, Any] = {}
    own = [tool for tool in tools or () if tool.get("type", "custom") == "custom" and "name" in tool]
    if own:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool["name"],
                    **({"description": tool["description"]} if tool.get("description") else {}),
                    "parameters": tool.get("input_schema") or {"type": "object", "properties": {}},
                    **({"strict": tool["strict"]} if tool.get("strict") is not None else {}),
                },
            }
            for tool in own
        ]
    if choice is not None and own:
        kinds: dict[str, Any] = {"auto": "auto", "any": "required", "none": "none"}
        kinds["tool"] = {"type": "function", "function": {"name": choice.get("name")}}
        kind = choice.get("type")
        if not isinstance(kind, str) or kind not in kinds:
            raise ApiError(400, "tool_choice: type is auto, any, tool or none", "tool_choice")
        body["tool_choice"] = kinds[kind]
        if choice.get("disable_parallel_tool_use"):
            body["parallel_tool_calls"] = False
    return body


def signature(thinking: str) -> str:
    """Marks thinking as ours."""
    return hmac.new(_KEY, thinking.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _event(name: str, body: Mapping[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + json_bytes({"type": name, **body}) + b"\n\n"


class Reply:
    """One answer as a message, or as its events."""

    def __init__(self, chat: ChatModel, request: MessagesRequest, translated: ChatRequest, job: Job) -> None:
        self._request = request
        self._run = Run(job, samples_of(chat, translated, job))
        self._head = {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": request.model}
        self._index = -1
        self._block = ""

    @property
    def _sample(self) -> Sample:
        return self._run.samples[0]

    async def whole(self, worker: Worker) -> dict[str, Any]:
        """The message, when everything has been generated."""
        await self._run.whole(worker)
        answer = self._sample.answer
        content: list[dict[str, Any]] = []
        if answer.reasoning is not None and self._request.shows_thinking:
            content.append({"type": "thinking", "thinking": answer.reasoning, "signature": signature(answer.reasoning)})
        if answer.content is not None:
            content.append({"type": "text", "text": answer.content})
        for call in answer.calls:
            content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments_text)})
        return {**self._head, "content": content, **self._stop(), "usage": self._usage()}

    async def events(self, worker: Worker) -> AsyncGenerator[bytes]:
        """The message as server-sent events; a failure on the way is an error event, and the last one."""
        start: dict[str, Any] = {
            **self._head,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(),
        }
        yield _event("message_start", {"message": start})
        try:
            async with aclosing(self._run.deltas(worker)) as deltas:
                async for delta in deltas:
                    for data in self._encode(delta):
                        yield data
        except (EngineFailure, UserError) as error:
            yield _event("error", {"error": failure(error).anthropic_body["error"]})
            return
        for data in self._close():
            yield data
        yield _event("message_delta", {"delta": self._stop(), "usage": self._usage()})
        yield _event("message_stop", {})

    def _encode(self, delta: Delta) -> list[bytes]:
        if delta.kind == REASONING:
            if not self._request.shows_thinking:
                return []
            opened = self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            return [*opened, self._delta({"type": "thinking_delta", "thinking": delta.text})]
        if delta.kind == CONTENT:
            return [*self._open("text", {"type": "text", "text": ""}), self._delta({"type": "text_delta", "text": delta.text})]
        if delta.kind == CALL_START:
            call = self._sample.answer.calls[delta.call]
            return self._open(call.id, {"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        if delta.kind == ARGUMENTS:
            return [self._delta({"type": "input_json_delta", "partial_json": delta.text})]
        return []

    def _open(self, block: str, start: Mapping[str, Any]) -> list[bytes]:
        """Begin a block, unless it is the one that is open."""
        if block == self._block:
            return []
        closed = self._close()
        self._block = block
        self._index += 1
        return [*closed, _event("content_block_start", {"index": self._index, "content_block": start})]

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def _close(self) -> list[bytes]:
        if not self._block:
            return []
        signed = []
        if self._block == "thinking":
            mark = signature(self._sample.answer.reasoning or "")
            signed.append(self._delta({"type": "signature_delta", "signature": mark}))
        self._block = ""
        return [*signed, _event("content_block_stop", {"index": self._index})]

    def _stop(self) -> dict[str, Any]:
        met = self._sample.answer.stop_met
        reason = "stop_sequence" if met is not None else _STOPS.get(self._sample.finish or "stop", "end_turn")
        return {"stop_reason": reason, "stop_sequence": met}

    def _usage(self) -> dict[str, Any]:
        run = self._run
        return {
            "input_tokens": run.prompt_tokens - run.cached_tokens,
            "cache_read_input_tokens": run.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": run.completion_tokens,
        }
