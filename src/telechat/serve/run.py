"""The samples of one request while they are generated; every API encodes what comes out of here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from telechat.chat.parser import Delta
from telechat.core.errors import UserError
from telechat.serve.answer import Answer
from telechat.serve.job import Job
from telechat.serve.wire import ApiError
from telechat.serve.worker import EngineFailure, EngineStopped, Generation, Token, TookTooLong, Worker


@dataclass
class Sample:
    """One choice while it is generated."""

    answer: Answer
    finish: str | None = None
    logprobs: list[Token] = field(default_factory=list)

    def take(self, token: Token) -> list[Delta]:
        """What one more token adds; sets `finish` on the last one."""
        if self.finish is not None:
            return []
        self.logprobs.append(token)
        deltas = self.answer.push(token.id)
        if token.finish is None and not self.answer.ended:
            return deltas
        deltas += self.answer.finish()
        reason = "stop" if self.answer.ended else token.finish or "stop"
        self.finish = "tool_calls" if reason == "stop" and self.answer.calls else reason
        return deltas


class Run:
    """The samples of one job. Read `samples`, `cached_tokens` and the counts when it is over."""

    def __init__(self, job: Job, samples: list[Sample]) -> None:
        self.job = job
        self.samples = samples
        self.cached_tokens = 0

    async def steps(self, worker: Worker) -> AsyncGenerator[list[tuple[int, list[Delta]]]]:
        """What each step of the engine adds: (sample, deltas) of the samples that it advanced.

        Raises `EngineFailure`, and `UserError` where the engine refuses the prompt.
        """
        async with worker.submit(self.job.prompt, self.job.params, self.job.constraints, self.job.salt) as generation:
            if self.job.place is not None:
                self.job.place.give_up()
            async for step in generation:
                yield [(token.sample, self._take(generation, token)) for token in step if self._waits(token.sample)]
                self.cached_tokens = generation.cached_tokens
                if all(sample.finish is not None for sample in self.samples):
                    break

    async def deltas(self, worker: Worker) -> AsyncGenerator[Delta]:
        """What each step adds to the only sample, for APIs that have one."""
        async with aclosing(self.steps(worker)) as steps:
            async for step in steps:
                for _, deltas in step:
                    for delta in deltas:
                        yield delta

    async def whole(self, worker: Worker) -> None:
        """Generate everything."""
        async with aclosing(self.steps(worker)) as steps:
            async for _ in steps:
                pass

    def _waits(self, sample: int) -> bool:
        return self.samples[sample].finish is None

    def _take(self, generation: Generation, token: Token) -> list[Delta]:
        """What one more token adds; a sample that is over by its text leaves the engine."""
        sample = self.samples[token.sample]
        deltas = sample.take(token)
        if sample.finish is not None and token.finish is None:
            generation.end(token.sample)
        return deltas

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.job.prompt)

    @property
    def completion_tokens(self) -> int:
        """Tokens generated for all samples."""
        return sum(sample.answer.tokens for sample in self.samples)

    @property
    def reasoning_tokens(self) -> int:
        """Those of them that were thinking."""
        return sum(sample.answer.reasoning_tokens for sample in self.samples)


def failure(error: EngineFailure | UserError) -> ApiError:
    """What went wrong in the engine, as the client is told."""
    if isinstance(error, UserError):
        return ApiError(400, str(error))
    if isinstance(error, TookTooLong):
        return ApiError(504, str(error), code="timeout")
    return ApiError(503 if isinstance(error, EngineStopped) else 500, str(error))
