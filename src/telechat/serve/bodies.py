"""The other bodies of the OpenAI side: plain text, token ids, and the error objects as the document shows them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from telechat.serve.schemas import MAX_TOKENS, Body, ChatMessage, ChatRequest, Sampling, Tool, Unsupported


class TextRequest(Sampling):
    """The body of a request for plain text: prompts as text or as ids."""

    model: str
    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def refuse_unsupported(self) -> None:
        """Raise `Unsupported` for a setting that would have to be ignored though it changes the answer."""
        if self.suffix:
            raise Unsupported("suffix", "is not supported; this model goes on, it does not fill in")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise Unsupported("best_of", "is not supported; use n")
        if self.echo and self.logprobs is not None:
            raise Unsupported("echo", "is not supported together with logprobs")

    @property
    def top_wanted(self) -> int:
        """See `Sampling`."""
        return self.logprobs or 0

    @property
    def wanted_tokens(self) -> int:
        """The bound on generated tokens; 16 where none is given, as OpenAI has it."""
        return self.max_tokens or 16

    @property
    def prompts(self) -> list[str | list[int]]:
        """Every prompt."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)  # type: ignore[arg-type]


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


class AnthropicErrorDetail(BaseModel):
    """What went wrong."""

    type: str
    message: str


class AnthropicErrorBody(BaseModel):
    """Anthropic's error object."""

    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str | None = None


class TokenizeRequest(Body):
    """A text, or a conversation; the options have vLLM's names. `add_special_tokens` is about texts,
    `add_generation_prompt` about conversations; `return_token_strs` adds the tokens as the vocabulary spells them."""

    prompt: str | None = None
    messages: Annotated[list[ChatMessage] | None, Field(min_length=1)] = None
    tools: list[Tool] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self

    def as_chat(self, model: str) -> ChatRequest:
        """The conversation as a chat request would send it."""
        messages = [message.model_dump(exclude_none=True) for message in self.messages or ()]
        tools = [tool.raw for tool in self.tools or ()]
        return ChatRequest.model_validate({"model": model, "messages": messages, "tools": tools or None})


class DetokenizeRequest(Body):
    """Token ids."""

    tokens: Annotated[list[Annotated[int, Field(ge=0, le=MAX_TOKENS)]], Field(max_length=1 << 20)]
