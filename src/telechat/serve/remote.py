"""A model behind an OpenAI-compatible server, with the face of `ChatModel` that the terminal chat uses."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import httpx

from telechat.chat.formats import get_format
from telechat.chat.parser import ARGUMENTS, CALL_START, CONTENT, REASONING, Delta
from telechat.chat.presets import get_preset
from telechat.core.errors import UserError
from telechat.core.types import Message, ToolCall
from telechat.engine.params import SamplingParams

KEY_VARIABLE = "TELECHAT_API_KEY"


class RemoteModel:
    """Talks to the server at `url`; `last` and `finish` describe the answer streamed last.

    The key comes from the environment variable `TELECHAT_API_KEY`. Raises `UserError` when there is no such server.
    """

    def __init__(self, url: str, preset: str | None = None) -> None:
        base = url.rstrip("/")
        self._url = base if base.endswith("/v1") else f"{base}/v1"
        key = os.environ.get(KEY_VARIABLE)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(20, read=600))
        self.preset = preset
        self.said: frozenset[str] = frozenset(("temperature", "top_p", "max_tokens", "seed"))
        """Which of the sampling parameters are sent; the server has its own for the others."""
        self.last = Message("assistant")
        self.finish = "stop"
        self.model = self._first_model()

    @property
    def own_sampling(self) -> SamplingParams:
        """What stands for the server's own settings."""
        return SamplingParams()

    def _first_model(self) -> str:
        try:
            answer = self._client.get(f"{self._url}/models")
            answer.raise_for_status()
            first = answer.json()["data"][0]
            self._ours = first.get("owned_by") == "telechat"
            return str(first["id"])
        except httpx.HTTPStatusError as error:
            hint = f"; set {KEY_VARIABLE}" if error.response.status_code == 401 else ""
            raise UserError(f"{self._url}: answered {error.response.status_code}{hint}") from None
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{self._url}: is no OpenAI-compatible server ({type(error).__name__})") from None

    def _preset(self, name: str) -> dict[str, Any]:
        """By its name for a server of ours, which knows the model's format; in numbers for every other one."""
        if self._ours:
            return {"preset": name}
        return asdict(get_preset(name, get_format("telechat2.5" if "2.5" in self.model else "telechat3-coder")))

    def stream(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), params: SamplingParams | None = None
    ) -> Generator[Delta]:
        """Ask, and yield the answer piece by piece. Raises `UserError` with what the server says is wrong."""
        body: dict[str, Any] = {"model": self.model, "messages": [_wire(m) for m in messages], "stream": True}
        if tools:
            body["tools"] = list(tools)
        if params is not None:
            body |= {name: getattr(params, name) for name in sorted(self.said)}
        if self.preset is not None:
            body = {k: v for k, v in body.items() if k not in ("temperature", "top_p")} | self._preset(self.preset)
        gathered = _Gathered()
        try:
            with self._client.stream("POST", f"{self._url}/chat/completions", json=body) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise UserError(_problem(answer))
                for line in answer.iter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        yield from gathered.take(json.loads(line.removeprefix("data: ")))
        except httpx.HTTPError as error:
            raise UserError(f"{self._url}: the connection broke ({type(error).__name__})") from None
        finally:
            self.last = gathered.message
            self.finish = gathered.finish


def _wire(message: Message) -> dict[str, Any]:
    """The OpenAI message: arguments as JSON text."""
    out = message.to_dict()
    if message.tool_calls:
        out["tool_calls"] = [call.to_openai() for call in message.tool_calls]
    return out


def _problem(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"the server answered {answer.status_code}"


class _Gathered:
    """The message that a stream of chunks adds up to."""

    def __init__(self) -> None:
        self._text = {CONTENT: "", REASONING: ""}
        self._calls: list[dict[str, str]] = []
        self.finish = "stop"

    def take(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """The deltas of one chunk."""
        if "error" in chunk:
            raise UserError(str(chunk["error"].get("message", "the server failed")))
        out: list[Delta] = []
        for choice in chunk.get("choices") or ():
            self.finish = choice.get("finish_reason") or self.finish
            delta = choice.get("delta") or {}
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            for kind, text in ((REASONING, thought), (CONTENT, delta.get("content"))):
                if text:
                    self._text[kind] += text
                    out.append(Delta(kind, text))
            for call in delta.get("tool_calls") or ():
                out += self._call(call)
        return out

    def _call(self, call: Mapping[str, Any]) -> list[Delta]:
        index, function = call.get("index", 0), call.get("function") or {}
        out = []
        while len(self._calls) <= index:
            self._calls.append({"id": call.get("id") or "", "name": function.get("name") or "", "arguments": ""})
            out.append(Delta(CALL_START, self._calls[-1]["name"], index))
        if function.get("arguments"):
            self._calls[index]["arguments"] += function["arguments"]
            out.append(Delta(ARGUMENTS, function["arguments"], index))
        return out

    @property
    def message(self) -> Message:
        """Everything so far; calls only where their arguments are whole."""
        calls = []
        for call in self._calls:
            try:
                calls.append(ToolCall(call["name"], json.loads(call["arguments"] or "{}"), call["id"] or None))
            except ValueError:
                continue
        return Message("assistant", self._text[CONTENT] or None, self._text[REASONING] or None, tuple(calls))
