"""One chat completion: from the request to the engine, and from tokens to the response or its chunks."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from telechat.chat.parser import CALL_START, Delta
from telechat.core.errors import UserError
from telechat.core.seeds import seed_of
from telechat.engine import SamplingParams
from telechat.serve.answer import Answer
from telechat.serve.schemas import ChatRequest, Unsupported
from telechat.serve.session import ChatModel
from telechat.serve.wire import DONE, ApiError, event
from telechat.serve.worker import EngineFailure, EngineStopped, Token, Worker

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_LOWEST_LOGPROB = -9999.0  # JSON has no minus infinity


@dataclass
class Job:
    """A checked request, ready for the engine. `notes` are settings that had no or another effect than asked for."""

    prompt: list[int]
    params: list[SamplingParams]
    tools: list[dict[str, Any]]
    notes: list[str]


def prepare(chat: ChatModel, worker: Worker, request: ChatRequest) -> Job:
    """Check, render and tokenise; runs in a thread of its own, since prompts may be long.

    Raises `ApiError` for what is not supported, for a conversation that cannot be shown and for one that does not fit,
    and `EngineStopped` when there is no engine any more.
    """
    worker.check()
    try:
        request.refuse_unsupported()
        prompt = chat.prompt(request.conversation(), request.offered_tools)
    except RecursionError:
        raise ApiError(400, "messages: the arguments of a call are nested too deeply", "messages") from None
    except Unsupported as error:
        raise ApiError(400, str(error), error.param, "unsupported_value") from None
    except (ValueError, UserError) as error:
        raise ApiError(400, str(error), "messages") from None
    room = worker.max_len - len(prompt)
    if room < 1:
        text = f"the prompt has {len(prompt)} tokens; the context of this model is {worker.max_len}, answer included"
        raise ApiError(400, text, "messages", "context_length_exceeded")
    n = request.n or 1
    if n > worker.slots:
        raise ApiError(400, f"n: {n} samples were asked for; this server makes at most {worker.slots} together", "n")
    notes = [f"ignored: {', '.join(request.ignored)}"] if request.ignored else []
    if request.repetition_penalty not in (None, 1.0):
        notes.append("repetition_penalty: taken for 1.0")
    if request.wanted_tokens is not None and request.wanted_tokens > room:
        notes.append("max_tokens: lowered to what the context has left")
    return Job(prompt, _sampling(chat, request, n, room), request.offered_tools, notes)


def _sampling(chat: ChatModel, request: ChatRequest, n: int, room: int) -> list[SamplingParams]:
    """The parameters of every sample; samples differ in their seed only."""
    seed = secrets.randbits(62) if request.seed is None else request.seed
    default = chat.defaults
    top_k = default.top_k if request.top_k is None else request.top_k
    return [
        SamplingParams(
            max_tokens=min(request.wanted_tokens or room, room),
            temperature=default.temperature if request.temperature is None else request.temperature,
            top_p=default.top_p if request.top_p is None else request.top_p,
            top_k=max(top_k, 0),
            seed=seed_of("sample", seed, number) >> 2,
            stop_ids=tuple(sorted(chat.stop_ids)),
        )
        for number in range(n)
    ]


@dataclass
class Sample:
    """One choice while it is generated."""

    answer: Answer
    finish: str | None = None
    logprobs: list[tuple[int, float]] = field(default_factory=list)

    def take(self, token: Token) -> list[Delta]:
        """What one more token adds; sets `finish` on the last one."""
        if self.finish is not None:
            return []
        self.logprobs.append((token.id, token.logprob))
        deltas = self.answer.push(token.id)
        if token.finish is None and not self.answer.ended:
            return deltas
        deltas += self.answer.finish()
        reason = "stop" if self.answer.ended else token.finish or "stop"
        self.finish = "tool_calls" if reason == "stop" and self.answer.calls else reason
        return deltas


class Completion:
    """The samples of one request, and how they look on the wire."""

    def __init__(self, chat: ChatModel, request: ChatRequest, job: Job) -> None:
        self._chat = chat
        self._request = request
        self._job = job
        calls = 1 if request.parallel_tool_calls is False else None
        skip = request.skip_special_tokens is not False
        self._samples = [Sample(chat.answer(job.tools, request.stop_words, skip, calls)) for _ in job.params]
        self._head = {"id": f"chatcmpl-{secrets.token_hex(16)}", "created": int(time.time()), "model": request.model}

    @property
    def _open(self) -> bool:
        return any(sample.finish is None for sample in self._samples)

    async def whole(self, worker: Worker) -> dict[str, Any]:
        """The response, when everything has been generated."""
        async with worker.submit(self._job.prompt, self._job.params) as generation:
            async for step in generation:
                for token in step:
                    self._samples[token.sample].take(token)
                if not self._open:
                    break
        choices = [self._choice(number, sample) for number, sample in enumerate(self._samples)]
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": self._usage()}

    async def chunks(self, worker: Worker) -> AsyncGenerator[bytes]:
        """The response as server-sent events. What fails on the way becomes an error event, and nothing follows it."""
        try:
            async with worker.submit(self._job.prompt, self._job.params) as generation:
                for number in range(len(self._samples)):
                    yield self._chunk(number, {"role": "assistant", "content": ""})
                async for step in generation:
                    for token in step:
                        for chunk in self._chunks_of(token):
                            yield chunk
                    if not self._open:
                        break
        except (EngineFailure, UserError) as error:
            yield event(failure(error).body)
            return
        if self._include_usage:
            yield event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()})
        yield DONE

    def _chunks_of(self, token: Token) -> list[bytes]:
        sample = self._samples[token.sample]
        if sample.finish is not None:
            return []
        out = [self._chunk(token.sample, self._delta(sample, delta)) for delta in sample.take(token)]
        if sample.finish is not None:
            out.append(self._chunk(token.sample, {}, sample.finish))
        return out

    @staticmethod
    def _delta(sample: Sample, delta: Delta) -> dict[str, Any]:
        return delta.to_openai(sample.answer.calls[delta.call].id if delta.kind == CALL_START else None)

    @property
    def _include_usage(self) -> bool:
        options = self._request.stream_options
        return options is not None and bool(options.include_usage)

    def _chunk(self, number: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": self._logprobs(self._samples[number]), "finish_reason": finish}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        return event({**chunk, "usage": None} if self._include_usage else chunk)

    def _choice(self, number: int, sample: Sample) -> dict[str, Any]:
        answer = sample.answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
        if answer.reasoning is not None:
            message["reasoning_content"] = answer.reasoning
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
        return {"content": [self._logprob(*pair) for pair in gathered], "refusal": None}

    def _logprob(self, token: int, logprob: float) -> dict[str, Any]:
        byte = _BYTE_TOKEN.fullmatch(self._chat.tokenizer.convert_ids_to_tokens(token) or "")
        text = self._chat.renderer.decode([token])
        spelled = [int(byte[1], 16)] if byte else list(text.encode("utf-8", "replace"))
        return {"token": text, "logprob": max(logprob, _LOWEST_LOGPROB), "bytes": spelled, "top_logprobs": []}

    def _usage(self) -> dict[str, Any]:
        prompt = len(self._job.prompt)
        made = sum(sample.answer.tokens for sample in self._samples)
        thought = sum(sample.answer.reasoning_tokens for sample in self._samples)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": made,
            "total_tokens": prompt + made,
            "completion_tokens_details": {"reasoning_tokens": thought},
        }


def failure(error: EngineFailure | UserError) -> ApiError:
    """What went wrong in the engine, as the client is told."""
    if isinstance(error, UserError):
        return ApiError(400, str(error))
    return ApiError(503 if isinstance(error, EngineStopped) else 500, str(error))
