"""What the routes answer, as the OpenAPI document shows it. The answers themselves are built where they are made;
the fuzz test holds every one of them against these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """A part of an answer; clients must be ready for more fields."""

    model_config = ConfigDict(extra="allow")


class CalledFunction(Answer):
    """The function of a call; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCallBody(Answer):
    """One call."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(Answer):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallBody] | None = None


class TokenLogprob(Answer):
    """A token that was generated, or could have been."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprobs(TokenLogprob):
    """A generated token and the likeliest ones in its place."""

    top_logprobs: list[TokenLogprob]


class Logprobs(Answer):
    """The log-probabilities of a choice."""

    content: list[TokenLogprobs] | None


class ChatChoice(Answer):
    """One sample of a chat completion."""

    index: int
    message: AssistantMessage
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class UsageBody(Answer):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletionBody(Answer):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageBody


class TextChoice(Answer):
    """One sample of a text completion."""

    index: int
    text: str
    logprobs: dict[str, list[Any]] | None
    finish_reason: Literal["stop", "length"]


class TextCompletionBody(Answer):
    """A text completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: UsageBody


class OutputItem(Answer):
    """A reasoning, message, function_call or custom_tool_call item."""

    id: str
    type: Literal["reasoning", "message", "function_call", "custom_tool_call"]
    status: Literal["completed", "incomplete"]


class ResponsesUsage(Answer):
    """Token counts of a response."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class ResponsesBody(Answer):
    """A response."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    model: str
    output: list[OutputItem]
    usage: ResponsesUsage


class ContentBlock(Answer):
    """A thinking, text or tool_use block."""

    type: Literal["thinking", "text", "tool_use"]


class MessagesUsage(Answer):
    """Token counts of a message."""

    input_tokens: int
    output_tokens: int


class MessagesBody(Answer):
    """A message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    stop_sequence: str | None
    usage: MessagesUsage


class ModelList(Answer):
    """The models that are served."""

    data: list[dict[str, Any]]


class CountBody(Answer):
    """How many tokens a conversation is."""

    input_tokens: int


class TokensBody(Answer):
    """The ids of a text, and its tokens where they were asked for."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class TextBody(Answer):
    """The text of ids."""

    prompt: str


class StatusBody(Answer):
    """How the server is."""

    status: str
