"""The words that every room uses: Message, Task, Verdict, Trajectory. Plain, JSON-serialisable, no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Split = Literal["train", "dev", "heldout", "transfer"]
SPLITS: tuple[str, ...] = ("train", "dev", "heldout", "transfer")
Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class ToolCall:
    """A call of one tool. `arguments` is always an object here; it is a JSON string on the OpenAI wire only."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str | None = None

    def to_openai(self) -> dict[str, Any]:
        """The OpenAI form (arguments as a JSON string)."""
        arguments = json.dumps(self.arguments, ensure_ascii=False)
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


@dataclass(frozen=True)
class Message:
    """One chat message. `reasoning_content` is the model's thinking, None when it did not think."""

    role: Role
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The OpenAI message with tool arguments kept as objects; absent fields are left out."""
        out: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning_content is not None:
            out["reasoning_content"] = self.reasoning_content
        if self.tool_calls:
            out["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in self.tool_calls
            ]
        if self.tool_call_id is not None:
            out["tool_call_id"] = self.tool_call_id
        return out

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Message:
        """Read an OpenAI message; arguments may be an object or a JSON string, thinking may be called
        `reasoning_content` or `reasoning`, content may be text parts. Raises `ValueError` on anything else."""
        if not isinstance(data, dict):
            raise ValueError(f"a message must be an object, not {type(data).__name__}")
        role: Any = data.get("role")
        role = {"developer": "system", "bot": "assistant"}.get(role, role) if isinstance(role, str) else role
        if role not in ("system", "user", "assistant", "tool"):
            raise ValueError(f"unknown role {data.get('role')!r}; use system, user, assistant or tool")
        reasoning = data.get("reasoning_content") or data.get("reasoning")
        if reasoning is None:
            reasoning = data.get("reasoning_content")
        if reasoning is not None and not isinstance(reasoning, str):
            raise ValueError("reasoning_content must be text")
        called = data.get("tool_calls") or ()
        if not isinstance(called, (list, tuple)):
            raise ValueError("tool_calls must be a list")
        calls = tuple(_call_from_dict(call) for call in called)
        call_id = data.get("tool_call_id")
        return cls(role, _text_of(data.get("content")), reasoning, calls, None if call_id is None else str(call_id))


def _text_of(content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = []
        for part in content:
            if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
                raise ValueError("content parts must be of type text")
            texts.append(part["text"])
        return "".join(texts)
    raise ValueError("content must be text, a list of text parts, or null")


def _call_from_dict(call: Any) -> ToolCall:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError("a tool call needs function.name")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError):
            raise ValueError(f"the arguments of tool call {function['name']!r} are not JSON") from None
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments of tool call {function['name']!r} must be an object")
    call_id = call.get("id")
    return ToolCall(function["name"], arguments, None if call_id is None else str(call_id))


@dataclass(frozen=True)
class Task:
    """Something to do and the hidden data that tells whether it was done.

    `id` is a function of kind, split, seed and index. `paths` are right answers, each a list of messages from
    the assistant's first turn on (single-turn kinds: one message); `paths[0]` is the gold answer. `difficulty`
    is in [0, 1], an estimate by the generator.
    """

    id: str
    kind: str
    split: str
    seed: int
    index: int
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    check: dict[str, Any] = field(default_factory=dict)
    paths: tuple[tuple[Message, ...], ...] = ()
    difficulty: float = 0.5

    @property
    def gold(self) -> tuple[Message, ...]:
        """A right answer."""
        return self.paths[0]

    def to_dict(self, gold: bool = False) -> dict[str, Any]:
        """The public part as JSON; `gold` adds a right answer, never the check data."""
        out: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind,
            "split": self.split,
            "seed": self.seed,
            "index": self.index,
            "messages": [m.to_dict() for m in self.messages],
            "tools": list(self.tools),
            "difficulty": round(self.difficulty, 4),
        }
        if gold:
            out["gold"] = [m.to_dict() for m in self.gold]
        return out


@dataclass(frozen=True)
class Rule:
    """One thing that a verifier looked at: its name, whether it held, and what was seen."""

    rule: str
    passed: bool
    evidence: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a verifier says: at once RL reward, data filter and metric. `score` is in [0, 1]."""

    score: float
    passed: bool
    rules: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, *rules: Rule) -> Verdict:
        """All rules must hold; the score is 1 or 0."""
        passed = bool(rules) and all(r.passed for r in rules)
        return cls(1.0 if passed else 0.0, passed, tuple(rules))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of the contract: score, passed, rules."""
        return {"score": self.score, "passed": self.passed, "rules": [asdict(r) for r in self.rules]}


@dataclass
class Trajectory:
    """One attempt at a task. `ids`, `mask` (1 on tokens that the model generated) and `logprobs` have one length."""

    task_id: str
    messages: list[Message]
    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    verdict: Verdict | None = None
    seconds: float = 0.0
    finish: str = "stop"

    def to_dict(self) -> dict[str, Any]:
        """As a JSON row; `telechat tasks check` judges such rows again."""
        return {
            "task": self.task_id,
            "messages": [m.to_dict() for m in self.messages],
            "ids": self.ids,
            "mask": self.mask,
            "logprobs": [round(p, 5) for p in self.logprobs],
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            "seconds": round(self.seconds, 4),
            "finish": self.finish,
        }

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Trajectory:
        """What `to_dict` wrote."""
        verdict = row["verdict"] and Verdict(
            row["verdict"]["score"], row["verdict"]["passed"], tuple(Rule(**rule) for rule in row["verdict"]["rules"])
        )
        messages = [Message.from_dict(m) for m in row["messages"]]
        return cls(row["task"], messages, row["ids"], row["mask"], row["logprobs"], verdict, row["seconds"], row["finish"])


@dataclass(frozen=True)
class RolloutParams:
    """How tasks are rolled out. `seed` and the attempt's number seed the sampler; `turns` bounds a conversation."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    turns: int = 6
