"""`/v1/chat/completions`: the response, or its chunks."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from telechat.chat.parser import CALL_START, REASONING, Delta, ReasoningField
from telechat.core.errors import UserError
from telechat.serve.job import Job
from telechat.serve.run import Run, Sample, failure
from telechat.serve.schemas import ChatRequest
from telechat.serve.session import ChatModel
from telechat.serve.wire import DONE, event
from telechat.serve.worker import EngineFailure, Worker

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_LOWEST_LOGPROB = -9999.0  # JSON has no minus infinity


def samples_of(chat: ChatModel, request: ChatRequest, job: Job) -> list[Sample]:
    """A reader for each sample of a job."""
    calls = 1 if request.parallel_tool_calls is False else None
    skip = request.skip_special_tokens is not False
    return [Sample(chat.answer(job.tools, request.stop_words, skip, calls)) for _ in job.params]


class Completion:
    """The samples of one request, and how they look on the wire."""

    def __init__(
        self, chat: ChatModel, request: ChatRequest, job: Job, reasoning_field: ReasoningField = "reasoning_content"
    ) -> None:
        self._chat = chat
        self._reasoning_field = reasoning_field
        self._request = request
        self._run = Run(job, samples_of(chat, request, job))
        self._head = {"id": f"chatcmpl-{secrets.token_hex(16)}", "created": int(time.time()), "model": request.model}

    async def whole(self, worker: Worker) -> dict[str, Any]:
        """The response, when everything has been generated."""
        await self._run.whole(worker)
        choices = [self._choice(number, sample) for number, sample in enumerate(self._run.samples)]
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": self._usage()}

    async def chunks(self, worker: Worker) -> AsyncGenerator[bytes]:
        """The response as server-sent events. What fails on the way becomes an error event, and nothing follows it."""
        try:
            for number in range(len(self._run.samples)):
                yield self._chunk(number, {"role": "assistant", "content": ""})
            async with aclosing(self._run.steps(worker)) as steps:
                async for step in steps:
                    for number, deltas in step:
                        for chunk in self._chunks_of(number, deltas):
                            yield chunk
        except (EngineFailure, UserError) as error:
            yield event(failure(error).body)
            return
        if self._request.include_usage:
            yield event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()})
        yield DONE

    def _chunks_of(self, number: int, deltas: list[Delta]) -> list[bytes]:
        sample = self._run.samples[number]
        out = [self._chunk(number, self._delta(sample, delta)) for delta in deltas]
        if sample.finish is not None:
            out.append(self._chunk(number, {}, sample.finish))
        return out

    def _delta(self, sample: Sample, delta: Delta) -> dict[str, Any]:
        if delta.kind == REASONING:
            return {self._reasoning_field: delta.text}
        return delta.to_openai(sample.answer.calls[delta.call].id if delta.kind == CALL_START else None)

    def _chunk(self, number: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {
            "index": number,
            "delta": delta,
            "logprobs": self._logprobs(self._run.samples[number]),
            "finish_reason": finish,
        }
        chunk: dict[str, Any] = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        if self._request.include_usage:
            chunk["usage"] = self._usage() if self._request.continuous_usage else None
        return event(chunk)

    def _choice(self, number: int, sample: Sample) -> dict[str, Any]:
        answer = sample.answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
        if answer.reasoning is not None:
            message[self._reasoning_field] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_text}}
                for call in answer.calls
            ]
        return {"index": number, "message": message, "logprobs": self._logprobs(sample), "finish_reason": sample.finish}

    def _logprobs(self, sample: Sample) -> dict[str, Any] | None:
        """The log-probabilities that have gathered since they were last sent; null unless asked for."""
        if not self._request.logprobs:
            return None
        gathered, sample.logprobs = sample.logprobs, []
        content = []
        for token in gathered:
            top = [self._logprob(*pair) for pair in token.top]
            content.append({**self._logprob(token.id, token.logprob), "top_logprobs": top})
        return {"content": content, "refusal": None}

    def _logprob(self, token: int, logprob: float) -> dict[str, Any]:
        byte = _BYTE_TOKEN.fullmatch(self._chat.tokenizer.convert_ids_to_tokens(token) or "")
        text = self._chat.renderer.decode([token])
        spelled = [int(byte[1], 16)] if byte else list(text.encode("utf-8", "replace"))
        return {"token": text, "logprob": max(logprob, _LOWEST_LOGPROB), "bytes": spelled}

    def _usage(self) -> dict[str, Any]:
        run = self._run
        return {
            "prompt_tokens": run.prompt_tokens,
            "completion_tokens": run.completion_tokens,
            "total_tokens": run.prompt_tokens + run.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": run.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": run.reasoning_tokens},
        }
