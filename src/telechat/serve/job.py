"""From a checked request to what the engine is asked: prompt, sampling, constraints."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from telechat.chat.formats import CALL, CALL_END, OTHER_FAMILY, THINK, THINK_END
from telechat.chat.grammar import answer_grammar
from telechat.chat.presets import get_preset
from telechat.core.errors import UserError
from telechat.core.seeds import seed_of
from telechat.engine import SamplingParams
from telechat.engine.grammar import Guided
from telechat.engine.params import Constraint
from telechat.serve.bodies import TextRequest
from telechat.serve.schemas import ChatRequest, Unsupported
from telechat.serve.session import ChatModel
from telechat.serve.wire import ApiError
from telechat.serve.worker import Place, Worker


@dataclass
class Job:
    """A checked request, ready for the engine. `notes` are settings that had no or another effect than asked for;
    `place` is the one in the queue, kept until the engine has the request."""

    prompt: list[int]
    params: list[SamplingParams]
    tools: list[dict[str, Any]]
    notes: list[str]
    constraints: list[Constraint | None]
    salt: str = ""
    place: Place | None = None


def prepare(chat: ChatModel, worker: Worker, request: ChatRequest) -> Job:
    """Check, render and tokenise; runs in a thread of its own, since prompts may be long.

    Raises `ApiError` for what is not supported, for a conversation that cannot be shown and for one that does not fit,
    and `EngineStopped` when there is no engine any more.
    """
    worker.check()
    prompt = prompt_of(chat, request)
    room = worker.max_len - len(prompt)
    if room < 1:
        text = f"the prompt has {len(prompt)} tokens; the context of this model is {worker.max_len}, answer included"
        raise ApiError(400, text, "messages", "context_length_exceeded")
    n = request.n or 1
    loose = request.strict_tools and request.offered_tools and not _strict(chat, request)
    ignored = [*request.ignored, *(["tools.function.strict"] if loose else [])]
    notes = [f"ignored: {', '.join(ignored)}"] if ignored else []
    if request.wanted_tokens is not None and request.wanted_tokens > room:
        notes.append("max_tokens: lowered to what the context has left")
    params = sampling(chat, request, n, room)
    return Job(prompt, params, request.offered_tools, notes, _constraints(chat, request, params), request.cache_salt or "")


def prompt_of(chat: ChatModel, request: ChatRequest, add_generation_prompt: bool = True) -> list[int]:
    """The ids of a conversation, up to the answer unless that is left out; raises `ApiError` for one that cannot be shown."""
    try:
        request.refuse_unsupported()
        return chat.prompt(request.conversation(), request.offered_tools, request.clear_thinking, add_generation_prompt)
    except RecursionError:
        raise ApiError(400, "messages: the arguments of a call are nested too deeply", "messages") from None
    except Unsupported as error:
        raise ApiError(400, str(error), error.param, "unsupported_value") from None
    except (ValueError, UserError) as error:
        raise ApiError(400, str(error), "messages") from None


def _constraints(chat: ChatModel, request: ChatRequest, params: Sequence[SamplingParams]) -> list[Constraint | None]:
    """What the samples must say: a forced call, JSON, calls that fit strict tools, or thinking of bounded length.

    While something waits that must be said, thinking has half of the tokens unless the client says otherwise, so that
    it can still be said.
    """
    schema = request.schema_of_content
    grammar = None
    strict = _strict(chat, request)
    forced = request.must_call or schema is not None
    if forced or strict:
        grammar = answer_grammar(
            chat.renderer.format,
            chat.renderer.control_ids,
            tools=request.offered_tools,
            only=request.named_tool,
            several=request.parallel_tool_calls is not False,
            schema=None if request.must_call else schema,
            strict=None if forced else strict,
        )
        try:
            chat.grammars.check(grammar)
        except UserError as error:
            param = "response_format" if schema is not None and not request.must_call else "tools"
            raise ApiError(400, f"{param}: {error}", param) from None
    budget = request.thinking_token_budget
    think_start, think_end = _thinking_ids(chat)
    if grammar is None and (budget is None or think_end is None):
        return [None] * len(params)
    if budget is None and forced:
        budget = params[0].max_tokens // 2
    matchers = [None if grammar is None else chat.grammars.matcher(grammar) for _ in params]
    return [Guided(matcher, chat.vocabulary, chat.stop_ids, think_end, budget, think_start) for matcher in matchers]


def _thinking_ids(chat: ChatModel) -> tuple[int | None, int | None]:
    """(the id with which the model opens its thinking, None where the prompt does; the id that ends it, None for a
    model that does not think)."""
    ids, fmt = chat.renderer.control_ids, chat.renderer.format
    if fmt.thinks:
        return None, ids.get(THINK_END)
    if fmt.name == OTHER_FAMILY and {THINK, THINK_END} <= ids.keys():
        return ids[THINK], ids[THINK_END]
    return None, None


def _strict(chat: ChatModel, request: ChatRequest) -> set[str]:
    """The strict tools that are offered; none where the vocabulary has no tokens of its own around calls, or where the
    grammar engine is not installed: they were not forced."""
    if not {CALL, CALL_END} <= chat.renderer.control_ids.keys() or find_spec("llguidance") is None:
        return set()
    return request.strict_tools & {tool["function"]["name"] for tool in request.offered_tools}


def sampling(chat: ChatModel, request: ChatRequest | TextRequest, n: int, room: int) -> list[SamplingParams]:
    """The parameters of every sample; samples differ in their seed only."""
    seed = secrets.randbits(62) if request.seed is None else request.seed
    default = chat.defaults
    if request.preset is not None:
        default = default.with_preset(get_preset(request.preset, chat.renderer.format))

    def chosen(name: str, otherwise: Any) -> Any:
        value = getattr(request, name)
        return otherwise if value is None else value

    biases = {int(token): bias for token, bias in (request.logit_bias or {}).items()}
    if any(token >= chat.vocabulary for token in biases):
        raise ApiError(400, f"logit_bias: token ids end at {chat.vocabulary - 1}", "logit_bias")
    ends = () if request.ignore_eos else chat.stop_ids
    first = SamplingParams(
        max_tokens=min(request.wanted_tokens or room, room),
        temperature=chosen("temperature", default.temperature),
        top_p=chosen("top_p", default.top_p),
        top_k=max(chosen("top_k", default.top_k), 0),
        stop_ids=tuple(sorted({*ends, *(request.stop_token_ids or ())})),
        min_p=chosen("min_p", 0.0),
        repetition_penalty=chosen("repetition_penalty", default.repetition_penalty),
        presence_penalty=chosen("presence_penalty", 0.0),
        frequency_penalty=chosen("frequency_penalty", 0.0),
        logit_bias=tuple(biases.items()),
        min_tokens=min(chosen("min_tokens", 0), room),
        top_logprobs=request.top_wanted,
    )
    return [replace(first, seed=seed_of("sample", seed, number) >> 2) for number in range(n)]
