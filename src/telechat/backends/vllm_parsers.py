"""vLLM's parser classes over our one incremental parser.

Both say `engine_based_streaming`: vLLM then gives each piece of text once and asks for what is held back at the end,
which is how our parser works. Special tokens are kept in the text (`adjust_request`), so clients need not ask for it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from vllm.reasoning import ReasoningParser
from vllm.tool_parsers.abstract_tool_parser import ToolParser

from telechat.backends.structural import call_tag
from telechat.backends.thinking import ThinkingSplitter, split_thinking, thinking_ended
from telechat.chat.formats import FORMATS, THINK, THINK_END
from telechat.chat.parser import ARGUMENTS, CALL_START, CONTENT, Delta, StreamParser

try:
    from vllm.entrypoints.generate.base import protocol
except ImportError:  # before 0.32
    from vllm.entrypoints.openai.engine import protocol


def _keep_special_tokens(request: Any) -> Any:
    if hasattr(request, "skip_special_tokens"):
        request.skip_special_tokens = False
    if hasattr(request, "spaces_between_special_tokens"):
        request.spaces_between_special_tokens = False
    return request


class TelechatReasoningParser(ReasoningParser):
    """Thinking of T1, TeleChat3 and TeleChat3-Coder: the prompt ends inside `<think>`, `</think>` ends it."""

    engine_based_streaming: bool = True

    def __init__(self, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(tokenizer, *args, **kwargs)
        self._splitter = ThinkingSplitter()
        self._start_id, self._end_id = self.vocab.get(THINK), self.vocab.get(THINK_END)

    @property
    def reasoning_start_str(self) -> str:
        """The tag that opens thinking."""
        return THINK

    @property
    def reasoning_end_str(self) -> str:
        """The tag that ends it."""
        return THINK_END

    def adjust_request(self, request: Any) -> Any:
        """Keep special tokens in the text."""
        return _keep_special_tokens(request)

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Whether a prompt (with output, perhaps) stands behind its last thinking."""
        return thinking_ended(input_ids, self._start_id, self._end_id)

    def is_reasoning_end_streaming(self, input_ids: Sequence[int], delta_ids: Any) -> bool:
        """Whether the tokens of the last step end the thinking."""
        return self._end_id in delta_ids

    def has_engine_confirmed_reasoning_end(self) -> bool:
        """Whether `</think>` has been read."""
        return self._splitter.ended

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """The ids behind `</think>`."""
        if self._end_id not in input_ids:
            return []
        return input_ids[input_ids.index(self._end_id) + 1 :]

    def count_reasoning_tokens(self, token_ids: Sequence[int]) -> int:
        """Generated tokens before `</think>`."""
        ids = list(token_ids)
        return ids.index(self._end_id) if self._end_id in ids else len(ids)

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """(thinking, everything behind it)."""
        return split_thinking(model_output)

    def extract_reasoning_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
    ) -> Any:
        """What one more piece of text adds."""
        return self._message(*self._splitter.feed(delta_text))

    def finish_streaming(self) -> Any:
        """What was held back at the end of the output."""
        return self._message(self._splitter.finish(), "")

    @staticmethod
    def _message(thinking: str, rest: str) -> Any:
        if not thinking and not rest:
            return None
        return protocol.DeltaMessage(reasoning=thinking or None, content=rest or None)


class TelechatToolParser(ToolParser):
    """Calls as JSON in `<tool_call>`: TeleChat2.5, T1, TeleChat3."""

    engine_based_streaming: bool = True
    structural_tag_model: str | None = "hermes"  # the same syntax
    format_name: ClassVar[str] = "telechat2.5"

    def __init__(self, tokenizer: Any, tools: Any = None) -> None:
        super().__init__(tokenizer, tools)
        self._tools = list(tools or [])
        self._stream: StreamParser | None = None
        self._ids: list[str] = []

    def adjust_request(self, request: Any) -> Any:
        """Keep special tokens in the text when there are tools."""
        request = super().adjust_request(request)
        return _keep_special_tokens(request) if request.tools and request.tool_choice != "none" else request

    def _parser(self, request: Any) -> StreamParser:
        tools = self._tools or getattr(request, "tools", None) or []
        shown = [tool if isinstance(tool, dict) else tool.model_dump() for tool in tools]
        return StreamParser(FORMATS[self.format_name], shown, in_thinking=False)

    def extract_tool_calls(self, model_output: str, request: Any) -> Any:
        """Content and calls of a whole output behind the thinking."""
        parser = self._parser(request)
        parser.feed(model_output)
        parser.finish()
        message = parser.parsed.message
        calls = [
            protocol.ToolCall(
                type="function",
                function=protocol.FunctionCall(name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False)),
            )
            for call in message.tool_calls
        ]
        return protocol.ExtractedToolCallInformation(
            tools_called=bool(calls), tool_calls=calls, content=message.content or None
        )

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: Any,
    ) -> Any:
        """What one more piece of text adds."""
        if self._stream is None:
            self._stream = self._parser(request)
        return self._message(self._stream.feed(delta_text))

    def finish_streaming(self) -> Any:
        """What was held back at the end of the output."""
        return self._message(self._stream.finish()) if self._stream else None

    def _message(self, deltas: Sequence[Delta]) -> Any:
        content = "".join(delta.text for delta in deltas if delta.kind == CONTENT)
        calls: dict[int, Any] = {}
        for delta in deltas:
            if delta.kind == CALL_START:
                self._ids.append(f"chatcmpl-tool-{uuid.uuid4().hex}")
                self.prev_tool_call_arr.append({"name": delta.text, "arguments": ""})
                self.streamed_args_for_tool.append("")
                self.current_tool_id = delta.call
                function = protocol.DeltaFunctionCall(name=delta.text, arguments="")
                calls[delta.call] = protocol.DeltaToolCall(
                    index=delta.call, id=self._ids[-1], type="function", function=function
                )
            elif delta.kind == ARGUMENTS:
                self.prev_tool_call_arr[delta.call]["arguments"] += delta.text
                self.streamed_args_for_tool[delta.call] += delta.text
                if delta.call not in calls:
                    calls[delta.call] = protocol.DeltaToolCall(
                        index=delta.call, function=protocol.DeltaFunctionCall(arguments="")
                    )
                calls[delta.call].function.arguments += delta.text
        if not content and not calls:
            return None
        return protocol.DeltaMessage(content=content or None, tool_calls=list(calls.values()))


class TelechatCoderToolParser(TelechatToolParser):
    """Calls with `<param_key>` and `<param_value>`: TeleChat3-Coder."""

    structural_tag_model: str | None = "telechat3-coder"  # ours: `get_structural_tag` builds it
    supports_required_and_named: bool = False  # its calls are no JSON: required and named calls are read like any other
    format_name: ClassVar[str] = "telechat3-coder"

    def get_structural_tag(self, request: Any, *, reasoning: bool = False, **kwargs: Any) -> Any:
        """The constraint for a required or named call, or for a tool that is strict; None where the model is free."""
        from xgrammar import StructuralTag

        tools = [tool if isinstance(tool, dict) else tool.model_dump() for tool in request.tools or ()]
        choice = request.tool_choice
        named = getattr(getattr(choice, "function", choice), "name", None)
        strict = any(tool.get("function", tool).get("strict") for tool in tools)
        must_call = choice == "required" or named is not None
        if not tools or choice == "none" or not (must_call or strict):
            return None
        several = getattr(request, "parallel_tool_calls", None) is not False
        fmt = FORMATS[self.format_name]
        tag = call_tag(fmt, tools, only=named, must_call=must_call, several=several, thinking=reasoning)
        return StructuralTag.model_validate(tag)
