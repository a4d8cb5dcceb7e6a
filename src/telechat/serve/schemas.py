"""What clients of `/v1/chat/completions` may send, checked to the type; what is known but cannot be done is refused.

Fields that nobody here knows are accepted, because clients add some every month; `ignored` names them, and the answer
carries the names in a header: nothing is dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, PrivateAttr, field_validator, model_validator

from telechat.chat.calls import MAX_NAME
from telechat.core.types import Message

MAX_SAMPLES = 128  # that any server may allow; see `Settings.max_samples`
MAX_NAMED = 16
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_DEPTH = 64
MAX_TOKENS = 2**31 - 1
MAX_BIASES = 1024

_HARMLESS = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Unsupported(ValueError):
    """A field that means something, but nothing that this server can do yet."""

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"{param}: {why}")
        self.param = param


class Body(BaseModel):
    """A part of a request: strict types, unknown fields kept."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class TextPart(Body):
    """The only content part that a text model reads."""

    type: Literal["text"]
    text: str


class CalledFunction(Body):
    """A call in the history: the arguments as JSON text, or as an object."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    arguments: str | dict[str, Any] | None = None


class HistoryCall(Body):
    """A tool call of an earlier assistant message."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """One message; thinking is accepted under both of its names."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[HistoryCall] | None = None
    tool_call_id: str | None = None


class ToolFunction(Body):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """An OpenAI tool; `raw` is the object as it came, because the prompt shows its keys in the client's order."""

    type: Literal["function"]
    function: ToolFunction
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, data: Any, handler: ModelWrapValidatorHandler[Tool]) -> Tool:
        tool = handler(data)
        if _deeper_than(data, MAX_DEPTH):
            raise ValueError(f"a tool is nested more than {MAX_DEPTH} levels deep")
        tool._raw = data
        return tool

    @property
    def raw(self) -> dict[str, Any]:
        """The tool as the client wrote it."""
        return self._raw


class StreamOptions(Body):
    """`include_usage` adds a last chunk that holds the token counts; with `continuous_usage_stats` (vLLM's) every chunk
    holds them as they are by then."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class JsonSchema(Body):
    """A named schema; the answer has its keys in the schema's order."""

    name: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Body):
    """How the content is constrained."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _check(self) -> ResponseFormat:
        if self.type == "json_schema" and (self.json_schema is None or self.json_schema.schema_ is None):
            raise ValueError("a json_schema needs json_schema.schema")
        if self.json_schema is not None and _deeper_than(self.json_schema.schema_, MAX_DEPTH):
            raise ValueError(f"a schema is nested more than {MAX_DEPTH} levels deep")
        return self

    @property
    def schema_of_content(self) -> dict[str, Any] | None:
        """The schema that the content must fit; None when it is free."""
        if self.type == "json_schema" and self.json_schema is not None:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


class NamedFunction(Body):
    """The name of a function."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class NamedTool(Body):
    """A tool by its name."""

    type: Literal["function"] = "function"
    function: NamedFunction


class AllowedTools(Body):
    """Which of the tools may be called in this turn, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class ToolChoice(Body):
    """One named function, or a selection of them."""

    type: Literal["function", "allowed_tools"]
    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None

    @model_validator(mode="after")
    def _check(self) -> ToolChoice:
        if getattr(self, self.type) is None:
            raise ValueError(f"a choice of type {self.type} needs {self.type}")
        return self


class Sampling(Body):
    """How to generate: what every API has in common."""

    max_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    top_k: Annotated[int | None, Field(ge=-1, le=MAX_TOKENS)] = None
    min_p: Annotated[float | None, Field(ge=0, le=1)] = None
    n: Annotated[int | None, Field(ge=1, le=MAX_SAMPLES)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: str | list[str] | None = None
    stop_token_ids: Annotated[list[Annotated[int, Field(ge=0, le=MAX_TOKENS)]] | None, Field(max_length=MAX_STOPS)] = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int | None, Field(ge=0, le=MAX_TOKENS)] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    repetition_penalty: Annotated[float | None, Field(gt=0, le=10)] = None
    logit_bias: Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]] | None, Field(max_length=MAX_BIASES)] = None
    preset: Literal["code", "agent", "math", "general"] | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    cache_salt: Annotated[str | None, Field(min_length=1, max_length=MAX_NAME)] = None

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, stop: str | list[str] | None) -> str | list[str] | None:
        words = [stop] if isinstance(stop, str) else stop or []
        if len(words) > MAX_STOPS:
            raise ValueError(f"{len(words)} stop strings were given; at most {MAX_STOPS} are taken")
        if not all(0 < len(word) <= MAX_STOP_LENGTH for word in words):
            raise ValueError(f"a stop string has 1 to {MAX_STOP_LENGTH} characters")
        return stop

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is for streams: set stream to true, or leave it out")
        if any(not token.isdecimal() for token in self.logit_bias or ()):
            raise ValueError("logit_bias: the keys are token ids, written as decimal numbers")
        return self

    @property
    def stop_words(self) -> list[str]:
        """The stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def continuous_usage(self) -> bool:
        """Whether every chunk of such a stream holds them."""
        return self.include_usage and bool(self.stream_options and self.stream_options.continuous_usage_stats)

    @property
    def top_wanted(self) -> int:
        """How many of the likeliest tokens are shown in each place."""
        return 0

    @property
    def ignored(self) -> list[str]:
        """Fields that were sent and have no effect, by name; names that are no plain words are counted only."""
        return _named(self.model_extra or ())


class TemplateOptions(Body):
    """The only settings of the chat template that a client may change; a template of its own is none of them."""

    clear_thinking: bool | None = None


class ChatRequest(Sampling):
    """The body of a chat completion request."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    thinking_token_budget: Annotated[int | None, Field(ge=0, le=MAX_TOKENS)] = None
    chat_template_kwargs: TemplateOptions | None = None
    _unused: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _check_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: set logprobs to true, or leave it out")
        return self

    @property
    def top_wanted(self) -> int:
        """See `Sampling`."""
        return self.top_logprobs or 0

    def refuse_unsupported(self) -> None:
        """Raise `Unsupported` for a setting that would have to be ignored though it changes the answer."""
        for name in ("functions", "function_call"):
            if getattr(self, name):
                raise Unsupported(name, "is not supported; use tools and tool_choice")
        names = {tool.raw["function"]["name"] for tool in self.tools or ()}
        for name in self._chosen_names or ():
            if name not in names:
                raise Unsupported("tool_choice", f"there is no tool {name!r} in tools")
        if self.must_call and not names:
            raise Unsupported("tool_choice", "a call is asked for, and there are no tools")

    @property
    def _chosen_names(self) -> list[str] | None:
        """The names that `tool_choice` gives; None when it gives none."""
        choice = self.tool_choice
        if not isinstance(choice, ToolChoice):
            return None
        if choice.type == "function" and choice.function is not None:
            return [choice.function.name]
        return [tool.function.name for tool in choice.allowed_tools.tools] if choice.allowed_tools is not None else []

    @property
    def must_call(self) -> bool:
        """Whether the answer has to be a call."""
        choice = self.tool_choice
        if not isinstance(choice, ToolChoice):
            return choice == "required"
        return choice.type == "function" or (choice.allowed_tools is not None and choice.allowed_tools.mode == "required")

    @property
    def named_tool(self) -> str | None:
        """The one tool that has to be called."""
        choice = self.tool_choice
        return (
            choice.function.name if isinstance(choice, ToolChoice) and choice.type == "function" and choice.function else None
        )

    @property
    def schema_of_content(self) -> dict[str, Any] | None:
        """The schema that the content must fit; None when it is free."""
        return self.response_format.schema_of_content if self.response_format is not None else None

    @property
    def clear_thinking(self) -> bool:
        """Whether the thinking of earlier user turns is dropped, as the formats do unless told otherwise."""
        return self.chat_template_kwargs is None or self.chat_template_kwargs.clear_thinking is not False

    def conversation(self) -> list[Message]:
        """The messages in the program's own form. Raises `ValueError` for arguments that are no JSON object."""
        return [Message.from_dict(message.model_dump(exclude_none=True)) for message in self.messages]

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """The tools that the model is shown."""
        if self.tool_choice == "none":
            return []
        chosen = self._chosen_names if self.named_tool is None else None
        names = None if chosen is None else set(chosen)
        return [tool.raw for tool in self.tools or () if names is None or tool.raw["function"]["name"] in names]

    @property
    def wanted_tokens(self) -> int | None:
        """The bound on generated tokens, under its newer or its older name."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def ignored(self) -> list[str]:
        """See `Sampling`."""
        options = self.chat_template_kwargs
        inner = (options.model_extra or {}) if options is not None else {}
        return _named([*(self.model_extra or {}), *inner, *self._unused])

    def note_unused(self, names: Iterable[str]) -> None:
        """Fields of the request that this one was made from, which have no effect."""
        self._unused += names

    @property
    def strict_tools(self) -> set[str]:
        """Names of the tools whose calls must fit their schemas even where the model is free to call or not."""
        return {tool.function.name for tool in self.tools or () if tool.function.strict}


def _named(fields: Iterable[str]) -> list[str]:
    names = sorted(fields)
    plain = [name for name in names if _HARMLESS.fullmatch(name)][:MAX_NAMED]
    more = len(names) - len(plain)
    return [*plain, *([f"and {more} more"] if more else [])]


def _deeper_than(value: Any, depth: int) -> bool:
    """Whether JSON data is nested more than `depth` levels deep."""
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
