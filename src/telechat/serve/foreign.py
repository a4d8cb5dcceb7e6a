"""Requests of other APIs than OpenAI's chat completions, which become chat requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from telechat.serve.schemas import Body, ChatRequest
from telechat.serve.wire import ApiError

EXTENSIONS = frozenset(
    ("seed", "top_k", "min_p", "repetition_penalty", "stop", "preset", "thinking_token_budget", "ignore_eos", "cache_salt")
)
"""Fields of a chat request that they may have beside their own."""


class ForeignRequest(Body):
    """A request of another API."""

    def checked(self, body: Mapping[str, Any]) -> ChatRequest:
        """The chat request of a translated body; raises `ApiError` for what is wrong with it. Fields that have no effect
        here are known to it by name."""
        extra = self.model_extra or {}
        ours = {key: value for key, value in extra.items() if key in EXTENSIONS}
        try:
            request = ChatRequest.model_validate({**ours, **{key: value for key, value in body.items() if value is not None}})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ApiError(400, f"{where}: {first['msg'].removeprefix('Value error, ')}", where or None) from None
        request.note_unused(key for key in extra if key not in EXTENSIONS)
        return request


def objects(value: Any, where: str) -> list[Mapping[str, Any]]:
    """`value`, which a client sent, when it is a list of objects; `ApiError` otherwise."""
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ApiError(400, f"{where}: give a list of objects", where)
    return value
