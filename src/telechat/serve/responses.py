"""`/v1/responses`, OpenAI's newer API: its items as chat messages, our answers as its items and events.

Nothing is stored, so a request has to bring its whole history; `previous_response_id` is refused rather than ignored.
Custom tools, whose input is plain text, become functions with one text argument, and come back as custom calls. Tools
that only OpenAI can run are left out.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from pydantic import Field

from telechat.chat.parser import ARGUMENTS, CALL_START, CONTENT, REASONING, Delta
from telechat.core.errors import UserError
from telechat.serve.completions import samples_of
from telechat.serve.foreign import ForeignRequest
from telechat.serve.job import Job
from telechat.serve.response_tools import ToolNames
from telechat.serve.run import Run, Sample, failure
from telechat.serve.schemas import MAX_TOKENS, Body, ChatRequest
from telechat.serve.session import ChatModel
from telechat.serve.wire import ApiError, json_bytes
from telechat.serve.worker import EngineFailure, Worker

_SYSTEM = ("system", "developer")
_TEXT_PARTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text", "refusal")


class TextOptions(Body):
    """The shape of the answer."""

    format: dict[str, Any] | None = None


class ResponsesRequest(ForeignRequest):
    """The body of a responses request."""

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
    text: TextOptions | None = None
    max_output_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None
    metadata: dict[str, Any] | None = None

    def as_chat(self) -> tuple[ChatRequest, ToolNames]:
        """The same request in the OpenAI chat shape, and what its tools are called there."""
        for name in ("previous_response_id", "conversation", "prompt", "background"):
            if getattr(self, name):
                raise ApiError(400, f"{name}: nothing is stored here; send the whole history as input", name)
        names = ToolNames.of(self.tools or ())
        messages = _one_system(self.instructions, _messages(self.input, names))
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "tools": names.tools or None,
            "tool_choice": names.choice(self.tool_choice) if names.tools else None,
            "parallel_tool_calls": self.parallel_tool_calls,
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stream": self.stream,
            "response_format": self._format(),
        }
        return self.checked(body), names

    def _format(self) -> dict[str, Any] | None:
        shape = self.text.format if self.text else None
        if shape is None or shape.get("type") == "text":
            return None
        if shape.get("type") == "json_schema":
            return {"type": "json_schema", "json_schema": {"name": shape.get("name"), "schema": shape.get("schema")}}
        return {"type": shape.get("type")}


def _messages(items: str | Sequence[Mapping[str, Any]], names: ToolNames) -> list[dict[str, Any]]:
    """Input items as chat messages; what an assistant said in one turn becomes one message."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    out: list[dict[str, Any]] = []
    turn: dict[str, Any] = {}

    def close() -> None:
        if turn:
            out.append({"role": "assistant", "content": None, **turn})
            turn.clear()

    for number, item in enumerate(items):
        kind, where = item.get("type", "message"), f"input.{number}"
        if kind == "message" and item.get("role") != "assistant":
            close()
            out.append({"role": item.get("role"), "content": _text(item.get("content"), where)})
        elif kind == "message":
            if turn.get("content") is not None or turn.get("tool_calls"):
                close()
            turn["content"] = _text(item.get("content"), where)
        elif kind == "reasoning":
            if turn.get("content") is not None or turn.get("tool_calls"):
                close()
            thought = _text(item.get("content") or item.get("summary") or [], where)
            if thought:
                turn["reasoning_content"] = turn.get("reasoning_content", "") + thought
        elif kind in ("function_call", "custom_tool_call"):
            arguments = item.get("arguments") if kind == "function_call" else {"input": item.get("input", "")}
            function = {"name": names.shown(item.get("name"), item.get("namespace")), "arguments": arguments}
            turn.setdefault("tool_calls", []).append({"id": item.get("call_id"), "type": "function", "function": function})
        elif kind in ("function_call_output", "custom_tool_call_output"):
            close()
            text = _text(item.get("output"), where)
            out.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": text})
        else:
            raise ApiError(400, f"{where}: an item of type {kind!r} cannot be read here", where)
    close()
    if not out:
        raise ApiError(400, "input: there is nothing to answer", "input")
    return out


def _one_system(instructions: str | None, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The instructions and the system messages that lead as one; what comes later under that role is read as the
    user's, since the formats have one system block."""
    lead = [instructions] if instructions else []
    first = next((i for i, m in enumerate(messages) if m["role"] not in _SYSTEM), len(messages))
    lead += [m["content"] for m in messages[:first]]
    rest = [{**m, "role": "user"} if m["role"] in _SYSTEM else m for m in messages[first:]]
    return [*([{"role": "system", "content": "\n\n".join(lead)}] if lead else []), *rest]


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ApiError(400, f"{where}: give a text or a list of parts", where)
    texts = []
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") not in _TEXT_PARTS:
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise ApiError(400, f"{where}: a part of type {kind!r} cannot be read; this is a text model", where)
        texts.append(str(part.get("text", part.get("refusal", ""))))
    return "".join(texts)


class Response:
    """One answer as a response object, or as its events."""

    def __init__(self, chat: ChatModel, request: ResponsesRequest, translated: ChatRequest, names: ToolNames, job: Job) -> None:
        self._request = request
        self._names = names
        self._run = Run(job, samples_of(chat, translated, job))
        self._id = f"resp_{secrets.token_hex(24)}"
        self._created = int(time.time())
        self._output: list[dict[str, Any]] = []
        self._number = 0
        self._open = ""

    @property
    def _sample(self) -> Sample:
        return self._run.samples[0]

    async def whole(self, worker: Worker) -> dict[str, Any]:
        """The response, when everything has been generated."""
        async for _ in self.events(worker, failing=False):
            pass
        return self._object(self._status())

    async def events(self, worker: Worker, failing: bool = True) -> AsyncGenerator[bytes]:
        """The response as server-sent events; the last is completed, incomplete or failed.

        `failing` makes a failure an event; otherwise it is raised.
        """
        yield self._event("response.created", {"response": self._object("in_progress")})
        yield self._event("response.in_progress", {"response": self._object("in_progress")})
        try:
            async with aclosing(self._run.deltas(worker)) as deltas:
                async for delta in deltas:
                    for data in self._encode(delta):
                        yield data
        except (EngineFailure, UserError) as error:
            if not failing:
                raise
            failed = failure(error)
            body = {**self._object("failed"), "error": {"code": "server_error", "message": str(failed)}}
            yield self._event("response.failed", {"response": body})
            return
        status = self._status()
        for data in self._close(status):
            yield data
        yield self._event(f"response.{status}", {"response": self._object(status)})

    def _status(self) -> str:
        return "incomplete" if self._sample.finish == "length" else "completed"

    def _event(self, name: str, body: Mapping[str, Any]) -> bytes:
        data = json_bytes({"type": name, "sequence_number": self._number, **body})
        self._number += 1
        return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"

    def _encode(self, delta: Delta) -> list[bytes]:
        if delta.kind == REASONING:
            item = {"type": "reasoning", "id": f"rs_{secrets.token_hex(12)}", "summary": [], "content": []}
            out = self._begin("reasoning", item, {"type": "reasoning_text", "text": ""})
            self._output[-1]["content"][0]["text"] += delta.text
            return [*out, self._part_event("response.reasoning_text.delta", {"delta": delta.text})]
        if delta.kind == CONTENT:
            item = {"type": "message", "id": f"msg_{secrets.token_hex(12)}", "role": "assistant", "content": []}
            out = self._begin("message", item, {"type": "output_text", "text": "", "annotations": [], "logprobs": []})
            self._output[-1]["content"][0]["text"] += delta.text
            return [*out, self._part_event("response.output_text.delta", {"delta": delta.text, "logprobs": []})]
        if delta.kind == CALL_START:
            return self._begin_call(delta)
        if delta.kind == ARGUMENTS:
            self._output[-1]["arguments"] += delta.text
            if self._output[-1]["name"] in self._names.custom:
                return []  # its input is inside the JSON; it goes out whole, at the end
            return [self._item_event("response.function_call_arguments.delta", {"delta": delta.text})]
        return []

    def _begin(self, kind: str, item: dict[str, Any], part: dict[str, Any]) -> list[bytes]:
        """Begin an item with one part, unless it is the one that is open."""
        if self._open == kind:
            return []
        out = self._close()
        self._open = kind
        item["status"] = "in_progress"
        self._output.append(item)
        out.append(self._added())
        item["content"].append(part)
        return [*out, self._part_event("response.content_part.added", {"part": part})]

    def _begin_call(self, delta: Delta) -> list[bytes]:
        call = self._sample.answer.calls[delta.call]
        out = self._close()
        self._open = call.id
        item = {"type": "function_call", "id": f"fc_{secrets.token_hex(12)}", "call_id": call.id, "name": call.name}
        item |= {"arguments": "", "status": "in_progress"}
        self._output.append(item)
        return [*out, self._added()]

    def _added(self) -> bytes:
        return self._event("response.output_item.added", {"output_index": len(self._output) - 1, "item": self._shown(-1)})

    def _close(self, status: str = "completed") -> list[bytes]:
        """End the open item; "incomplete" where the tokens ran out in it."""
        if not self._open:
            return []
        self._open = ""
        item = self._output[-1]
        item["status"] = status
        out = []
        if item["type"] == "function_call":
            item["arguments"] = item["arguments"] or "{}"
            if item["name"] not in self._names.custom:
                done = {"arguments": item["arguments"], "name": self._names.own(item["name"])["name"]}
                out.append(self._item_event("response.function_call_arguments.done", done))
            else:
                text = self._shown(-1)["input"]
                out.append(self._item_event("response.custom_tool_call_input.delta", {"delta": text}))
                out.append(self._item_event("response.custom_tool_call_input.done", {"input": text}))
        else:
            part = item["content"][0]
            reasoning = item["type"] == "reasoning"
            name = "response.reasoning_text.done" if reasoning else "response.output_text.done"
            out.append(self._part_event(name, {"text": part["text"], **({} if reasoning else {"logprobs": []})}))
            out.append(self._part_event("response.content_part.done", {"part": part}))
        done = {"output_index": len(self._output) - 1, "item": self._shown(-1)}
        return [*out, self._event("response.output_item.done", done)]

    def _item_event(self, name: str, body: Mapping[str, Any]) -> bytes:
        return self._event(name, {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1, **body})

    def _part_event(self, name: str, body: Mapping[str, Any]) -> bytes:
        return self._item_event(name, {"content_index": 0, **body})

    def _shown(self, number: int) -> dict[str, Any]:
        """An item as the client knows it: a call by the tool's own name, that of a custom tool by its input."""
        item = self._output[number]
        if item["type"] != "function_call":
            return {**item, "content": list(item["content"])} if "content" in item else item
        if item["name"] not in self._names.custom:
            return {**item, **self._names.own(item["name"])}
        shown = {key: value for key, value in item.items() if key != "arguments"} | self._names.own(item["name"])
        try:
            given = json.loads(item["arguments"] or "{}").get("input", "")
        except ValueError:
            given = ""
        return {**shown, "type": "custom_tool_call", "input": given if isinstance(given, str) else json.dumps(given)}

    def _object(self, status: str) -> dict[str, Any]:
        request, run = self._request, self._run
        usage = {
            "input_tokens": run.prompt_tokens,
            "input_tokens_details": {"cached_tokens": run.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": run.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": run.reasoning_tokens},
            "total_tokens": run.prompt_tokens + run.completion_tokens,
        }
        over = status in ("completed", "incomplete")
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "model": request.model,
            "output": [self._shown(i) for i in range(len(self._output))] if over else [],
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": request.reasoning or {"effort": None, "summary": None},
            "store": False,
            "temperature": request.temperature,
            "text": {"format": (request.text.format if request.text else None) or {"type": "text"}},
            "tool_choice": request.tool_choice or "auto",
            "tools": request.tools or [],
            "top_p": request.top_p,
            "truncation": "disabled",
            "usage": usage if over else None,
            "metadata": request.metadata or {},
        }
