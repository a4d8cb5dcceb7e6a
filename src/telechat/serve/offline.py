"""Many prompts at once, without a server: `LLM` and `SamplingParams` as vLLM spells them, on the embedded engine.

    from telechat import LLM, SamplingParams

    llm = LLM(model="runs/nano")
    for output in llm.generate(["…"], SamplingParams(max_tokens=64)):
        print(output.outputs[0].text)

A script for vLLM runs with this one import changed; what only concerns GPUs is accepted and has no effect.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telechat.core.errors import UserError
from telechat.core.progress import Progress
from telechat.core.seeds import seed_of
from telechat.core.types import Message
from telechat.engine import Completion
from telechat.engine import SamplingParams as EngineParams
from telechat.engine.params import Request
from telechat.serve.session import ChatModel
from telechat.serve.text import TextSample

logger = logging.getLogger(__name__)

Prompt = str | Sequence[int] | Mapping[str, Any]


@dataclass
class SamplingParams:
    """How to sample, in vLLM's words and with its defaults. `spaces_between_special_tokens` has no effect: there are
    none either way."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    logit_bias: dict[int, float] | None = None
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False

    @property
    def stops(self) -> list[str]:
        """The stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())


@dataclass(frozen=True)
class Logprob:
    """One candidate at one position: the model's own log-probability, its rank, its text."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    """One generated sequence."""

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    """One prompt and what was generated for it."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True
    num_cached_tokens: int = 0


class LLM:
    """A model for batches of prompts.

    `max_num_seqs` sequences are generated together. `dtype` is "auto", a type of torch by name, or "int8"; arguments
    that this engine has no use for (parallelism, memory of GPUs, remote code) are named once in the log.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        max_model_len: int | None = None,
        max_num_seqs: int = 64,
        seed: int | None = None,
        chat_format: str | None = None,
        dtype: str = "auto",
        **unused: Any,
    ) -> None:
        if unused:
            logger.info("no effect here: %s", ", ".join(sorted(unused)))
        self.chat_model = ChatModel.load(str(model), chat_format, dtype)
        self.engine = self.chat_model.engine(max_num_seqs, max_model_len)
        self._seed = secrets.randbits(62) if seed is None else seed
        self._calls = 0

    def get_tokenizer(self) -> Any:
        """The tokenizer."""
        return self.chat_model.tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """What the checkpoint's generation configuration asks for."""
        default = self.chat_model.defaults
        return SamplingParams(
            temperature=default.temperature,
            top_p=default.top_p,
            top_k=default.top_k,
            repetition_penalty=default.repetition_penalty,
        )

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = False,
    ) -> list[RequestOutput]:
        """Complete every prompt: text (control words in it count as such), ids, or `{"prompt_token_ids": […]}`.

        Raises `UserError` for a prompt that does not fit and for settings that cannot be sampled.
        """
        given = [prompts] if isinstance(prompts, (str, Mapping)) or _is_ids(prompts) else list(prompts)
        read = [self._read(prompt) for prompt in given]  # type: ignore[arg-type]
        return self._run(read, self._params(sampling_params, len(read)), use_tqdm)

    def chat(
        self,
        messages: Sequence[Any],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = False,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[RequestOutput]:
        """Answer one conversation, or several, of OpenAI messages. The text is what the model generated, thinking and
        calls included; `LLM.chat_model.chat` reads them."""
        talks = [messages] if messages and isinstance(messages[0], (Mapping, Message)) else messages
        read = []
        for talk in talks:
            asked = [m if isinstance(m, Message) else Message.from_dict(dict(m)) for m in talk]
            rendered = self.chat_model.renderer.render(asked, tools or ())
            read.append((rendered.text, rendered.ids))
        return self._run(read, self._params(sampling_params, len(read)), use_tqdm)

    def _read(self, prompt: Prompt) -> tuple[str | None, list[int]]:
        if isinstance(prompt, Mapping):
            inner = prompt.get("prompt_token_ids", prompt.get("prompt"))
            if inner is None:
                raise UserError("a prompt dictionary needs prompt or prompt_token_ids")
            return self._read(inner)
        if isinstance(prompt, str):
            return prompt, list(self.chat_model.tokenizer(prompt)["input_ids"])
        return None, [int(token) for token in prompt]

    def _params(self, given: SamplingParams | Sequence[SamplingParams] | None, count: int) -> list[SamplingParams]:
        if given is None or isinstance(given, SamplingParams):
            return [given or self.get_default_sampling_params()] * count
        if len(given) != count:
            raise UserError(f"{count} prompts and {len(given)} sampling parameters: give one, or one for each prompt")
        return list(given)

    def _run(
        self, prompts: Sequence[tuple[str | None, list[int]]], params: Sequence[SamplingParams], use_tqdm: bool
    ) -> list[RequestOutput]:
        self._calls += 1
        requests: list[Request] = []
        samples: dict[tuple[int, int], TextSample] = {}
        progress = Progress(quiet=not use_tqdm)
        try:
            for number, ((_, ids), asked) in enumerate(zip(prompts, params, strict=True)):
                request = self.engine.add(ids, [self._engine_params(asked, len(ids), number, k) for k in range(asked.n)])
                requests.append(request)
                samples |= {(request.id, k): self._sample(asked) for k in range(asked.n)}
            while not self.engine.idle:
                for request, k, token in self.engine.step():
                    if samples[request.id, k].push(token) and request.open:
                        self.engine.end(request, k)
                progress.update("prompts", sum(r.open == 0 for r in requests), len(requests))
        except BaseException:  # nothing of this call may be left for the next one
            for request in requests:
                self.engine.cancel(request)
            self.engine.step()
            raise
        made = []
        for request, (text, ids), asked in zip(requests, prompts, params, strict=True):
            outputs = [self._output(k, request, asked, samples[request.id, k]) for k in range(asked.n)]
            made.append(RequestOutput(str(request.id), text, ids, outputs, num_cached_tokens=request.cached))
        return made

    def _engine_params(self, asked: SamplingParams, prompt: int, number: int, sample: int) -> EngineParams:
        seed = seed_of("offline", asked.seed, sample) if asked.seed is not None else self._fresh_seed(number, sample)
        ends = () if asked.ignore_eos else self.chat_model.stop_ids
        room = max(1, self.engine.max_len - prompt)
        return EngineParams(
            max_tokens=room if asked.max_tokens is None else asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=max(asked.top_k, 0),
            seed=seed >> 2,
            stop_ids=tuple(sorted({*ends, *(asked.stop_token_ids or ())})),
            min_p=asked.min_p,
            repetition_penalty=asked.repetition_penalty,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            logit_bias=tuple((asked.logit_bias or {}).items()),
            min_tokens=asked.min_tokens,
            top_logprobs=asked.logprobs or 0,
        )

    def _fresh_seed(self, number: int, sample: int) -> int:
        return seed_of("offline", self._seed, self._calls, number, sample)

    def _sample(self, asked: SamplingParams) -> TextSample:
        renderer = self.chat_model.renderer
        silent = self.chat_model.special_ids if asked.skip_special_tokens else frozenset()
        return TextSample(renderer, asked.stops, silent, asked.include_stop_str_in_output)

    def _output(self, index: int, request: Request, asked: SamplingParams, sample: TextSample) -> CompletionOutput:
        completion = request.completions[index]
        sample.finish()
        reason: int | str | None = sample.met
        if reason is None and completion.finish == "stop" and completion.ids[-1] in (asked.stop_token_ids or ()):
            reason = completion.ids[-1]
        return CompletionOutput(
            index,
            sample.text,
            completion.ids,
            sum(completion.logprobs),
            self._logprobs(completion) if asked.logprobs is not None else None,
            "stop" if sample.met is not None else completion.finish,
            reason,
        )

    def _logprobs(self, completion: Completion) -> list[dict[int, Logprob]]:
        decode = self.chat_model.renderer.decode
        rows = []
        for position, (token, logprob) in enumerate(zip(completion.ids, completion.logprobs, strict=True)):
            top = completion.top[position] if completion.top else []
            row = {i: Logprob(value, rank, decode([i])) for rank, (i, value) in enumerate(top, 1)}
            row.setdefault(token, Logprob(logprob, None, decode([token])))
            rows.append(row)
        return rows


def _is_ids(prompts: Any) -> bool:
    return bool(prompts) and not isinstance(prompts, (str, Mapping)) and isinstance(prompts[0], int)
