"""What clients of `/v1/chat/completions` may send, checked to the type; what is known but cannot be done is refused.

Fields that nobody here knows are accepted, because clients add some every month; `ignored` names them, and the answer
carries the names in a header: nothing is dropped in silence.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, PrivateAttr, field_validator, model_validator

from telechat.chat.calls import MAX_NAME
from telechat.core.types import Message

MAX_SAMPLES = 16
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_DEPTH = 64
MAX_TOKENS = 2**31 - 1
MILD_PENALTY = 1.05  # the model cards ask for 1.0 to 1.05; the engine has none yet, and up to here it changes little

_HARMLESS = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Unsupported(ValueError):
    """A field that means something, but nothing that this server can do yet."""

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"{param}: {why}")
        self.param = param


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class TextPart(_Body):
    """The only content part that a text model reads."""

    type: Literal["text"]
    text: str


class CalledFunction(_Body):
    """A call in the history: the arguments as JSON text, or as an object."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    arguments: str | dict[str, Any] | None = None


class HistoryCall(_Body):
    """A tool call of an earlier assistant message."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(_Body):
    """One message; thinking is accepted under both of its names."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[HistoryCall] | None = None
    tool_call_id: str | None = None


class ToolFunction(_Body):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Body):
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


class StreamOptions(_Body):
    """`include_usage` adds a last chunk that holds the token counts."""

    include_usage: bool | None = None


class ResponseFormat(_Body):
    """How the content is constrained."""

    type: Literal["text", "json_object", "json_schema"]


class ChatRequest(_Body):
    """The body of a chat completion request."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    top_k: Annotated[int | None, Field(ge=-1, le=MAX_TOKENS)] = None
    n: Annotated[int | None, Field(ge=1, le=MAX_SAMPLES)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    repetition_penalty: Annotated[float | None, Field(ge=1, le=2)] = None
    min_p: Annotated[float | None, Field(ge=0, le=1)] = None
    logit_bias: dict[str, float] | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None

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
    def _check_together(self) -> ChatRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is for streams: set stream to true, or leave it out")
        return self

    def refuse_unsupported(self) -> None:
        """Raise `Unsupported` for a setting that would have to be ignored though it changes the answer."""
        if self.tool_choice not in (None, "none", "auto"):
            raise Unsupported("tool_choice", "a call cannot be forced yet; use auto or none")
        if self.response_format is not None and self.response_format.type != "text":
            raise Unsupported("response_format", f"{self.response_format.type} is not supported yet; use text")
        if self.top_logprobs:
            raise Unsupported("top_logprobs", "only the chosen token's logprob is given yet; leave it out or use 0")
        if self.repetition_penalty is not None and self.repetition_penalty > MILD_PENALTY:
            raise Unsupported("repetition_penalty", f"is not supported yet; use 1.0 (up to {MILD_PENALTY} is taken for 1.0)")
        for name in ("presence_penalty", "frequency_penalty", "min_p", "logit_bias", "functions", "function_call"):
            if getattr(self, name):
                raise Unsupported(name, "is not supported yet; leave it out")

    def conversation(self) -> list[Message]:
        """The messages in the program's own form. Raises `ValueError` for arguments that are no JSON object."""
        return [Message.from_dict(message.model_dump(exclude_none=True)) for message in self.messages]

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """The tools that the model is shown."""
        return [] if self.tool_choice == "none" else [tool.raw for tool in self.tools or ()]

    @property
    def stop_words(self) -> list[str]:
        """The stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wanted_tokens(self) -> int | None:
        """The bound on generated tokens, under its newer or its older name."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def ignored(self) -> list[str]:
        """Fields that were sent and have no effect, by name; names that are no plain words are counted only."""
        extra = sorted(self.model_extra or {})
        plain = [name for name in extra if _HARMLESS.fullmatch(name)][:MAX_SAMPLES]
        more = len(extra) - len(plain)
        strict = any(tool.function.strict for tool in self.tools or ())
        return [*plain, *(["tools.function.strict"] if strict else []), *([f"and {more} more"] if more else [])]


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
