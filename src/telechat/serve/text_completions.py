"""`/v1/completions`: text goes on, unread; several prompts are one request."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from telechat.core.errors import UserError
from telechat.engine import SamplingParams
from telechat.serve.bodies import TextRequest
from telechat.serve.job import sampling
from telechat.serve.run import failure
from telechat.serve.schemas import Unsupported
from telechat.serve.session import ChatModel
from telechat.serve.text import TextSample
from telechat.serve.wire import DONE, ApiError, event
from telechat.serve.worker import EngineFailure, Place, Token, Worker

MAX_PROMPTS = 64


@dataclass
class TextJob:
    """One prompt of a request, ready for the engine."""

    text: str
    ids: list[int]
    params: list[SamplingParams]
    place: Place | None = None


@dataclass
class Choice:
    """One sample of one prompt while it is generated."""

    index: int
    sample: TextSample
    echo: str = ""
    tokens: list[Token] = field(default_factory=list)
    offset: int = 0
    made: int = 0
    finish: str | None = None
    told: bool = False  # the end of it has been streamed


def prepare_text(chat: ChatModel, worker: Worker, request: TextRequest) -> list[TextJob]:
    """Check and tokenise every prompt. Raises `ApiError`, and `EngineStopped` when there is no engine any more."""
    worker.check()
    try:
        request.refuse_unsupported()
    except Unsupported as error:
        raise ApiError(400, str(error), error.param, "unsupported_value") from None
    n = request.n or 1
    return [_job(chat, worker, request, prompt, n) for prompt in request.prompts]


def check_prompts(request: TextRequest) -> None:
    """Raise `ApiError` for no prompts, or too many."""
    if not 0 < len(request.prompts) <= MAX_PROMPTS:
        raise ApiError(400, f"prompt: give 1 to {MAX_PROMPTS} prompts", "prompt")


def text_notes(request: TextRequest, jobs: list[TextJob]) -> list[str]:
    """Settings that had no effect, or another one than asked for."""
    notes = [f"ignored: {', '.join(request.ignored)}"] if request.ignored else []
    if request.max_tokens is not None and any(job.params[0].max_tokens < request.max_tokens for job in jobs):
        notes.append("max_tokens: lowered to what the context has left")
    return notes


def _job(chat: ChatModel, worker: Worker, request: TextRequest, prompt: str | list[int], n: int) -> TextJob:
    ids = list(chat.tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else prompt
    if not ids:
        raise ApiError(400, "prompt: a prompt is empty", "prompt")
    if not all(0 <= token < chat.vocabulary for token in ids):
        raise ApiError(400, f"prompt: token ids go from 0 to {chat.vocabulary - 1}", "prompt")
    room = worker.max_len - len(ids)
    if room < 1:
        text = f"the prompt has {len(ids)} tokens; the context of this model is {worker.max_len}, answer included"
        raise ApiError(400, text, "prompt", "context_length_exceeded")
    text = prompt if isinstance(prompt, str) else chat.renderer.decode(ids)
    return TextJob(text, ids, sampling(chat, request, n, room))


class TextCompletion:
    """The choices of one request, and how they look on the wire."""

    def __init__(self, chat: ChatModel, request: TextRequest, jobs: list[TextJob]) -> None:
        self._chat = chat
        self._request = request
        self._jobs = jobs
        self._n = request.n or 1
        silent = frozenset() if request.skip_special_tokens is False else chat.special_ids
        self._choices = [
            Choice(i * self._n + k, TextSample(chat.renderer, request.stop_words, silent), job.text if request.echo else "")
            for i, job in enumerate(jobs)
            for k in range(self._n)
        ]
        self._cached = 0
        head = {"id": f"cmpl-{secrets.token_hex(16)}", "object": "text_completion", "created": int(time.time())}
        self._head = {**head, "model": request.model}

    async def whole(self, worker: Worker) -> dict[str, Any]:
        """The response, when everything has been generated."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(len(self._jobs)):
                    group.create_task(self._generate(worker, number, None))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        choices = [self._shown(choice, choice.echo + choice.sample.text) for choice in self._choices]
        return {**self._head, "choices": choices, "usage": self._usage()}

    async def chunks(self, worker: Worker) -> AsyncGenerator[bytes]:
        """The response as server-sent events. What fails on the way becomes an error event, and nothing follows it."""
        queue: asyncio.Queue[Choice | EngineFailure | UserError | None] = asyncio.Queue()
        tasks = [asyncio.create_task(self._generate(worker, number, queue)) for number in range(len(self._jobs))]
        try:
            left = len(tasks)
            while left:
                item = await queue.get()
                if isinstance(item, (EngineFailure, UserError)):
                    yield event(failure(item).body)
                    return
                if item is None:
                    left -= 1
                    continue
                if item.told:  # this place in the queue is for tokens that an earlier one has brought
                    continue
                item.told = item.finish is not None
                text = item.echo + item.sample.fresh(final=item.finish is not None)
                item.echo = ""
                if text or item.finish is not None or item.tokens:
                    chunk: dict[str, Any] = {**self._head, "choices": [self._shown(item, text)]}
                    if self._request.include_usage:
                        chunk["usage"] = self._usage() if self._request.continuous_usage else None
                    yield event(chunk)
            await asyncio.gather(*tasks)  # a bug in one of them is raised here
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._request.include_usage:
            yield event({**self._head, "choices": [], "usage": self._usage()})
        yield DONE

    async def _generate(
        self, worker: Worker, number: int, queue: asyncio.Queue[Choice | EngineFailure | UserError | None] | None
    ) -> None:
        """Generate the samples of one prompt; tell `queue` of every one that has gone on."""
        job, mine = self._jobs[number], self._choices[number * self._n : (number + 1) * self._n]
        try:
            async with worker.submit(job.ids, job.params, salt=self._request.cache_salt or "") as generation:
                if job.place is not None:
                    job.place.give_up()
                async for step in generation:
                    for token in step:
                        choice = mine[token.sample]
                        if choice.finish is not None:
                            continue
                        self._take(choice, token)
                        if choice.finish is not None and token.finish is None:
                            generation.end(token.sample)
                        if queue is not None:
                            queue.put_nowait(choice)
                    if all(choice.finish is not None for choice in mine):
                        break
                self._cached += generation.cached_tokens
        except (EngineFailure, UserError) as error:
            if queue is None:
                raise
            queue.put_nowait(error)
        finally:
            if queue is not None:
                queue.put_nowait(None)

    def _take(self, choice: Choice, token: Token) -> None:
        choice.tokens.append(token)
        choice.made += 1
        ended = choice.sample.push(token.id)
        if ended or token.finish is not None:
            choice.sample.finish()
            choice.finish = "stop" if ended else token.finish

    def _shown(self, choice: Choice, text: str) -> dict[str, Any]:
        return {
            "index": choice.index,
            "text": text,
            "logprobs": self._logprobs(choice),
            "finish_reason": choice.finish,
            "stop_reason": choice.sample.met,
        }

    def _logprobs(self, choice: Choice) -> dict[str, Any] | None:
        """The log-probabilities that have gathered since they were last sent; null unless asked for."""
        gathered, choice.tokens = choice.tokens, []
        if self._request.logprobs is None:
            return None
        decode = self._chat.renderer.decode
        texts = [decode([token.id]) for token in gathered]
        offsets = []
        for text in texts:
            offsets.append(choice.offset)
            choice.offset += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [max(token.logprob, -9999.0) for token in gathered],
            "top_logprobs": [{decode([i]): max(value, -9999.0) for i, value in token.top} for token in gathered],
            "text_offset": offsets,
        }

    def _usage(self) -> dict[str, Any]:
        prompt = sum(len(job.ids) for job in self._jobs)
        made = sum(choice.made for choice in self._choices)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": made,
            "total_tokens": prompt + made,
            "prompt_tokens_details": {"cached_tokens": self._cached},
        }
