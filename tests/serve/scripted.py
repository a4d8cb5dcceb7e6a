"""An engine that says what it is told: deterministic, without a model, with the same requests as the real one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

from telechat.chat.formats import CONTROL_PATTERN
from telechat.chat.render import Renderer
from telechat.core.errors import UserError
from telechat.engine.params import Completion, Request, SamplingParams

Script = Callable[[list[int], int], Sequence[int]]
"""(prompt, sample) → the ids that are generated; they are repeated from the start when they run out."""


class ScriptedEngine:
    """Generates one id a step for every open sample, as `script` says; raises in the step `broken` is set in."""

    def __init__(self, script: Script, slots: int = 64, max_len: int = 100_000, pace: float = 0.0) -> None:
        self.script = script
        self.slots = slots
        self.max_len = max_len
        self.pace = pace
        self.requests: list[Request] = []
        self.broken: Exception | None = None
        self.prompts: list[list[int]] = []
        self.seen: list[list[SamplingParams]] = []
        self.salts: list[str] = []
        self._numbers = itertools.count()
        self._clock = threading.Event()  # never set: a wait that is a pause

    @property
    def idle(self) -> bool:
        return not self.requests

    def add(
        self, prompt: Sequence[int], params: Sequence[SamplingParams], constraints: Sequence[object] = (), salt: str = ""
    ) -> Request:
        if not prompt:
            raise UserError("the prompt is empty")
        self.prompts.append(list(prompt))
        self.seen.append(list(params))
        self.salts.append(salt)
        request = Request(next(self._numbers), list(prompt), list(params), [Completion() for _ in params], len(params))
        self.requests.append(request)
        return request

    def cancel(self, request: Request) -> None:
        request.cancelled = True

    def end(self, request: Request, sample: int) -> None:
        completion, params = request.completions[sample], request.params[sample]
        over = completion.ids[-1:] and (completion.ids[-1] in params.stop_ids or len(completion.ids) >= params.max_tokens)
        if not over:  # it may have ended by itself meanwhile
            request.ended.add(sample)
            request.open -= 1

    def step(self) -> list[tuple[Request, int, int]]:
        self.requests = [r for r in self.requests if r.open and not r.cancelled]
        if self.broken is not None:
            raise self.broken
        if self.pace and self.requests:
            self._clock.wait(self.pace)
        events = []
        for request in self.requests:
            for sample, params in enumerate(request.params):
                completion = request.completions[sample]
                if sample in request.ended:
                    continue
                if completion.ids and (completion.ids[-1] in params.stop_ids or len(completion.ids) >= params.max_tokens):
                    continue
                script = self.script(request.prompt, sample)
                token = script[len(completion.ids) % len(script)]
                completion.ids.append(token)
                completion.logprobs.append(-0.5)
                events.append((request, sample, token))
                if token in params.stop_ids:
                    completion.finish = "stop"
                if token in params.stop_ids or len(completion.ids) >= params.max_tokens:
                    request.open -= 1
        self.requests = [r for r in self.requests if r.open]
        return events


def ids_of(renderer: Renderer, text: str) -> list[int]:
    """The ids of generated text: control words are control tokens, as a model generates them."""
    ids: list[int] = []
    start = 0
    for match in CONTROL_PATTERN.finditer(text):
        ids += renderer.encode(text[start : match.start()])
        ids.append(renderer.control_ids[match.group()])
        start = match.end()
    return ids + renderer.encode(text[start:])
