"""A model that chats: weights, tokenizer and chat format of one checkpoint."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from telechat.chat.detect import renderer_of
from telechat.chat.formats import BOT, OBSERVATION, SYSTEM, USER, Format, get_format
from telechat.chat.parser import Delta
from telechat.chat.presets import Preset
from telechat.core.errors import UserError
from telechat.core.types import Message
from telechat.engine import Engine, SamplingParams
from telechat.engine.grammar import Grammars
from telechat.engine.linear import Weights
from telechat.models.hub import find
from telechat.models.loading import best_device, load_model, load_tokenizer
from telechat.serve.answer import Answer


@dataclass(frozen=True)
class Defaults:
    """What a request that does not say is sampled with: the checkpoint's generation configuration, if it samples."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0

    @classmethod
    def of(cls, model: Any) -> Defaults:
        """The defaults of a transformers model."""
        config = getattr(model, "generation_config", None)
        if config is None or not config.do_sample:
            return cls()
        given = {name: getattr(config, name, None) for name in ("temperature", "top_p", "top_k", "repetition_penalty")}
        return cls(**{name: value for name, value in given.items() if value is not None})

    def with_preset(self, preset: Preset) -> Defaults:
        """The same with the settings of a preset."""
        return replace(self, temperature=preset.temperature, top_p=preset.top_p, repetition_penalty=preset.repetition_penalty)


MAX_ANSWER = 2**31 - 1
"""Tokens of an answer without a bound of its own; the context ends before."""
DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")


def _dtype(name: str) -> torch.dtype | str:
    """The type to load weights in; "auto" is the checkpoint's own, unless this processor only emulates it."""
    if name != "auto":
        return cast("torch.dtype", getattr(torch, name))
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    slow = best_device() == "cpu" and not (native is not None and native())
    return torch.float32 if slow else "auto"


class ChatModel:
    """A loaded checkpoint that answers messages. `last` and `finish` describe the answer streamed last."""

    def __init__(self, model: Any, tokenizer: Any, fmt: Format | None = None, weights: Weights = "own") -> None:
        self.model = model
        self.weights = weights
        self.tokenizer = tokenizer
        self.renderer = renderer_of(tokenizer, fmt)
        self.defaults = Defaults.of(model)
        self.stop_ids = self._stop_ids()
        self.special_ids = frozenset(n for n, token in tokenizer.added_tokens_decoder.items() if token.special)
        """What `skip_special_tokens` leaves out of plain text."""
        self.skipped_ids = self.special_ids - set(self.renderer.control_ids.values())
        """Special ids that are no control words: not shown unless a client wants them."""
        self.last = Message("assistant")
        self.finish = "stop"
        self.said: frozenset[str] = frozenset()
        self.grammars = Grammars(tokenizer, self.vocabulary, self.stop_ids)
        self._engine: Engine | None = None

    @classmethod
    def load(cls, folder: str | Path, fmt: str | None = None, dtype: str = "auto") -> ChatModel:
        """The model in a checkpoint folder or a finished run directory, or of a hub name, in the format `fmt` or its own.

        `dtype`: one of `DTYPES`. "int8" keeps the engine's weights in eight bits; the rest of the model is float32.
        A model of another family is shown conversations by its own chat template. Raises `UserError` when there is no
        model, or no way to show it a conversation.
        """
        path = find(folder)
        chosen = get_format(fmt) if fmt else None
        tokenizer = load_tokenizer(path)
        if dtype not in DTYPES:
            raise UserError(f"--dtype {dtype}: use one of {', '.join(DTYPES)}")
        small = dtype == "int8"
        model = load_model(path, dtype=_dtype("float32" if small else dtype), device="cpu" if small else None)
        return cls(model, tokenizer, chosen, "int8" if small else "own")

    def engine(self, slots: int, max_len: int | None = None, *, fair: bool = False, kv_bytes: int | None = None) -> Engine:
        """An engine for this model; see `Engine`."""
        return Engine(self.model, slots, max_len, fair=fair, kv_bytes=kv_bytes, weights=self.weights)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return int(self.model.config.vocab_size)

    @property
    def own_sampling(self) -> SamplingParams:
        """As its generation configuration says, greedy where that does not sample; answers go on while there is room."""
        config = getattr(self.model, "generation_config", None)
        samples = asdict(self.defaults) if config is not None and config.do_sample else {"temperature": 0.0}
        return SamplingParams(**{"max_tokens": MAX_ANSWER, **samples})

    def prompt(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        clear_thinking: bool = True,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """The ids that the model goes on from; `clear_thinking` drops the thinking of earlier user turns."""
        return self.renderer.render(messages, tools, add_generation_prompt, clear_thinking).ids

    def answer(
        self,
        tools: Sequence[Mapping[str, Any]] = (),
        stop: Sequence[str] = (),
        skip_special_tokens: bool = True,
        max_calls: int | None = None,
    ) -> Answer:
        """A reader for one generated sample; see `Answer`."""
        silent = self.stop_ids | self.skipped_ids if skip_special_tokens else self.stop_ids
        return Answer(self.renderer, tools, stop, silent, max_calls if tools else 0)

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        params: SamplingParams | None = None,
        stop: Sequence[str] = (),
    ) -> Generator[Delta]:
        """Generate one answer and yield it piece by piece; `last` is the message, also when the caller leaves early.

        `params.stop_ids` are the model's own where none are given. Raises `UserError` when the prompt does not fit.
        """
        self._engine = self._engine or self.engine(slots=1)
        params = params or SamplingParams(**asdict(self.defaults))
        if not params.stop_ids:
            params = replace(params, stop_ids=tuple(sorted(self.stop_ids)))
        answer = self.answer(tools, stop)
        request = self._engine.add(self.prompt(messages, tools), [params])
        try:
            while request.open and not answer.ended:
                for _, _, token in self._engine.step():
                    yield from answer.push(token)
            yield from answer.finish()
        finally:
            if request.open:
                self._engine.cancel(request)
                self._engine.step()
            answer.finish()
            self.last = answer.message
            self.finish = "stop" if answer.ended else request.completions[0].finish

    def chat(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        params: SamplingParams | None = None,
    ) -> Message:
        """One whole answer, greedy unless `params` says otherwise.

        `messages` is a question, or a conversation of `Message`s or OpenAI dictionaries. Raises `ValueError` on a
        dictionary that is no message and `UserError` when the prompt does not fit.
        """
        given = [Message("user", messages)] if isinstance(messages, str) else messages
        read = [m if isinstance(m, Message) else Message.from_dict(dict(m)) for m in given]
        for _ in self.stream(read, tools, params or SamplingParams(256, 0.0)):
            pass
        return self.last

    def _stop_ids(self) -> frozenset[int]:
        """Ids that end a turn: `<_end>`, the words that would open another turn, what the checkpoint itself names."""
        found = {self.renderer.end_id, self.tokenizer.eos_token_id}
        found |= {self.renderer.control_ids.get(word) for word in (USER, BOT, SYSTEM, OBSERVATION)}
        named = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        found |= set(named) if isinstance(named, list) else {named}
        return frozenset(number for number in found if number is not None)
