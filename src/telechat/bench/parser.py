"""`telechat bench parser`: the parser beside the one in transformers, on the same text in the same process; where vLLM
is installed, its parser for GLM-4.7 as well, whose calls differ from TeleChat3-Coder's in the names of two tags."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from telechat.chat.formats import CALL, CALL_END, FORMATS, Format
from telechat.chat.parser import StreamParser

BESIDE = 40_000
_CODE = (
    '    for name, value in sorted(table.items()):\n        if value < limit:  # keep "small" ones\n            yield name\n'
)
_TOOLS = [{"name": "write", "parameters": {"properties": {"text": {"type": "string"}, "line": {"type": "integer"}}}}]


def measure() -> dict[str, Any]:
    """Every sample text, beside transformers and vLLM."""
    rows = measure_parser(beside=True)
    return {"texts": [{k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()} for row in rows]}


def sample_texts(size: int) -> dict[str, tuple[Format, str]]:
    """Outputs of about `size` characters: plain thinking and content, one long text argument, and many short calls."""
    coder, hermes = FORMATS["telechat3-coder"], FORMATS["telechat3"]
    code = _CODE * (size // len(_CODE) + 1)
    head = f"{CALL}write<param_key>text</param_key><param_value>"
    short = f"{head}{_CODE * 4}</param_value><param_key>line</param_key><param_value>5</param_value>{CALL_END}"
    escaped = _CODE.replace("\n", "\\n").replace('"', '\\"') * 4
    spoken = f'\n{CALL}\n{{"name": "write", "arguments": {{"text": "{escaped}", "line": 5}}}}\n{CALL_END}'
    return {
        "thinking": (coder, f"\n{code}\n</think>done"),
        "content": (coder, f"</think>{code}"),
        "one long argument": (coder, f"</think>{head}{code}</param_value>{CALL_END}"),
        "many calls (xml)": (coder, "</think>" + short * (size // len(short) + 1)),
        "many calls (json)": (hermes, "</think>" + spoken * (size // len(spoken) + 1)),
    }


def measure_parser(size: int = 2_000_000, delta: int = 4, repeats: int = 3, beside: bool = False) -> list[dict[str, Any]]:
    """One row for each sample text: MB/s in one go and µs for each delta of `delta` characters, the best of `repeats`.

    `beside` adds the same figures for transformers' `ResponseParser`, and for vLLM's parser where there is one, on texts
    of at most `BESIDE` characters: the time of one of them grows with the square of the length.
    """
    rows = []
    short = sample_texts(min(size, BESIDE))
    for name, (fmt, text) in sample_texts(size).items():
        row: dict[str, Any] = {"text": name, "bytes": len(text.encode())}
        row |= _figures(lambda fmt=fmt: StreamParser(fmt, _TOOLS), "finish", text, delta, repeats)  # type: ignore[misc]
        if beside:
            text = short[name][1]
            theirs = _figures(lambda fmt=fmt: _transformers_parser(fmt), "finalize", text, delta, repeats)  # type: ignore[misc]
            row |= {f"transformers_{key}": value for key, value in theirs.items()}
            if fmt.name == "telechat3-coder" and find_spec("vllm") is not None:
                theirs = _figures(_Glm, "finish", as_glm(text), delta, repeats)
                row |= {f"vllm_{key}": value for key, value in theirs.items()}
        rows.append(row)
    return rows


def _figures(new: Callable[[], Any], end: str, text: str, delta: int, repeats: int) -> dict[str, float]:
    pieces = [text[i : i + delta] for i in range(0, len(text), delta)]
    whole = min(_seconds(new(), end, [text]) for _ in range(repeats))
    streamed = min(_seconds(new(), end, pieces) for _ in range(repeats))
    return {"mb_per_s": len(text.encode()) / whole / 1e6, "us_per_delta": streamed / len(pieces) * 1e6}


def _seconds(parser: Any, end: str, pieces: list[str]) -> float:
    begun = time.perf_counter()
    feed = parser.feed
    for piece in pieces:
        feed(piece)
    getattr(parser, end)()
    return time.perf_counter() - begun


def _transformers_parser(fmt: Format) -> Any:
    from transformers.utils.chat_parsing import ResponseParser

    from telechat.chat.template import response_template

    tools = [{"type": "function", "function": tool} for tool in _TOOLS]
    return ResponseParser(response_template(fmt), prefix=fmt.generation_prompt, tools=tools)


def as_glm(text: str) -> str:
    """What GLM-4.7 would write in place of TeleChat3-Coder's `text`."""
    return text.replace("<param_", "<arg_").replace("</param_", "</arg_")


class _Glm:
    """vLLM's parser of GLM-4.7's outputs, from text alone."""

    def __init__(self) -> None:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.parser.glm47_moe import Glm47MoeParser

        tools = [{"type": "function", "function": tool} for tool in _TOOLS]
        self._request = ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "x"}], tools=tools)
        tokenizer = SimpleNamespace(get_vocab=dict, chat_template=None)
        self._parser = Glm47MoeParser(tokenizer, self._request.tools)

    def feed(self, text: str) -> Any:
        """The next piece."""
        return self._parser.parse_delta(text, [], self._request, finished=False)

    def finish(self) -> Any:
        """There is no more."""
        return self._parser.parse_delta("", [], self._request, finished=True)
