"""SGLang's detectors over our one incremental parser."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any, ClassVar

from sglang.srt.function_call.base_format_detector import BaseFormatDetector
from sglang.srt.function_call.core_types import StreamingParseResult, StructureInfo, ToolCallItem
from sglang.srt.parser.reasoning_parser import BaseReasoningFormatDetector
from sglang.srt.parser.reasoning_parser import StreamingParseResult as ReasoningResult

from telechat.backends.structural import call_tag
from telechat.backends.thinking import ThinkingSplitter
from telechat.chat.formats import CALL, CALL_END, FORMATS, THINK, THINK_END
from telechat.chat.parser import ARGUMENTS, CALL_START, CONTENT, Delta, StreamParser


def _shown(tools: Any) -> list[dict[str, Any]]:
    return [tool if isinstance(tool, dict) else tool.model_dump() for tool in tools or []]


class TelechatDetector(BaseFormatDetector):
    """Calls as JSON in `<tool_call>`: TeleChat2.5, T1, TeleChat3."""

    format_name: ClassVar[str] = "telechat2.5"

    def __init__(self) -> None:
        super().__init__()
        self.bot_token, self.eot_token = CALL, CALL_END
        self._stream: StreamParser | None = None

    def has_tool_call(self, text: str) -> bool:
        """Whether a call begins in `text`."""
        return CALL in text

    def detect_and_parse(self, text: str, tools: list[Any]) -> StreamingParseResult:
        """Content and calls of a whole output behind the thinking."""
        parser = self._parser(tools)
        parser.feed(text)
        parser.finish()
        message = parser.parsed.message
        calls = [
            ToolCallItem(tool_index=i, name=c.name, parameters=json.dumps(c.arguments, ensure_ascii=False))
            for i, c in enumerate(message.tool_calls)
        ]
        return StreamingParseResult(normal_text=message.content or "", calls=calls)

    def parse_streaming_increment(self, new_text: str, tools: list[Any]) -> StreamingParseResult:
        """What one more piece of text adds."""
        if self._stream is None:
            self._stream = self._parser(tools)
        return self._result(self._stream.feed(new_text))

    def finish(self, tools: list[Any]) -> StreamingParseResult:
        """What was held back at the end of the output."""
        return self._result(self._stream.finish()) if self._stream else StreamingParseResult()

    def supports_structural_tag(self) -> bool:
        """Calls can be forced by a grammar, and are read like any other."""
        return True

    def parses_required_natively(self) -> bool:
        """The same, in another word."""
        return True

    def get_structural_tag(
        self, tools: Any = None, tool_choice: Any = "auto", thinking_mode: bool = False, parallel_tool_calls: bool = True
    ) -> Any:
        """The constraint for a required or named call, or for tools that are strict: in the format's own syntax, with
        arguments that fit the schemas. SGLang asks for it only then."""
        from xgrammar import StructuralTag

        if not tools:
            return None
        named = getattr(getattr(tool_choice, "function", None), "name", None)
        must_call, several = tool_choice != "auto", parallel_tool_calls is not False
        fmt = FORMATS[self.format_name]
        tag = call_tag(fmt, _shown(tools), only=named, must_call=must_call, several=several, thinking=thinking_mode)
        return StructuralTag.model_validate(tag)

    def structure_info(self) -> Any:
        """How a JSON call begins and ends, for versions of SGLang that know no other constraint."""
        return lambda name: StructureInfo(
            begin=f'{CALL}\n{{"name": "{name}", "arguments": ', end=f"}}\n{CALL_END}", trigger=CALL
        )

    def _parser(self, tools: list[Any]) -> StreamParser:
        return StreamParser(FORMATS[self.format_name], _shown(tools), in_thinking=False)

    def _result(self, deltas: Sequence[Delta]) -> StreamingParseResult:
        calls = []
        for delta in deltas:
            if delta.kind == CALL_START:
                self.current_tool_id = delta.call
                self.prev_tool_call_arr.append({"name": delta.text, "arguments": {}})
                self.streamed_args_for_tool.append("")
                calls.append(ToolCallItem(tool_index=delta.call, name=delta.text, parameters=""))
            elif delta.kind == ARGUMENTS:
                self.streamed_args_for_tool[delta.call] += delta.text
                self._remember(delta.call)
                calls.append(ToolCallItem(tool_index=delta.call, parameters=delta.text))
        return StreamingParseResult(normal_text="".join(d.text for d in deltas if d.kind == CONTENT), calls=calls)

    def _remember(self, number: int) -> None:
        """The serving layer compares what was streamed with the arguments of a finished call."""
        with contextlib.suppress(ValueError):
            self.prev_tool_call_arr[number]["arguments"] = json.loads(self.streamed_args_for_tool[number])


class TelechatCoderDetector(TelechatDetector):
    """Calls with `<param_key>` and `<param_value>`: TeleChat3-Coder."""

    format_name: ClassVar[str] = "telechat3-coder"

    def supports_structural_tag(self) -> bool:
        """Its calls are no JSON, which is all that the older kind of tag can hold; `get_structural_tag` is asked first."""
        return False


class TelechatReasoningDetector(BaseReasoningFormatDetector):
    """Thinking of T1, TeleChat3 and TeleChat3-Coder: the prompt ends inside `<think>`, `</think>` ends it."""

    def __init__(
        self,
        stream_reasoning: bool = True,
        force_reasoning: bool = True,
        continue_final_message: bool = False,
        previous_content: str = "",
        force_nonempty_content: bool = False,
        **_: Any,
    ) -> None:
        self._in_reasoning = True
        super().__init__(
            THINK,
            THINK_END,
            force_reasoning=True,
            stream_reasoning=stream_reasoning,
            continue_final_message=continue_final_message,
            previous_content=previous_content,
            force_nonempty_content=force_nonempty_content,
        )
        self._splitter = ThinkingSplitter()
        self._kept = ""

    def _detect_and_parse_impl(self, text: str) -> ReasoningResult:
        if not self._in_reasoning:
            return ReasoningResult(normal_text=text)
        splitter = ThinkingSplitter()
        thinking, rest = splitter.feed(text, final=True)
        return ReasoningResult(normal_text=rest, reasoning_text=thinking)

    def _parse_streaming_increment_impl(self, new_text: str) -> ReasoningResult:
        if not self._in_reasoning:
            return ReasoningResult(normal_text=new_text)
        thinking, rest = self._splitter.feed(new_text)
        if not self.stream_reasoning:
            self._kept += thinking
            thinking, self._kept = (self._kept, "") if self._splitter.ended else ("", self._kept)
        self._in_reasoning = not self._splitter.ended or not rest
        return ReasoningResult(normal_text=rest, reasoning_text=thinking)

    def finish(self) -> ReasoningResult:
        """What was held back at the end of the output."""
        thinking = self._kept + self._splitter.finish()
        self._kept = ""
        if self._force_nonempty_content and not self._splitter.ended:
            return ReasoningResult(normal_text=self._accumulated_reasoning + thinking)
        return ReasoningResult(reasoning_text=thinking)
