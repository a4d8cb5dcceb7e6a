"""The tools of `/v1/responses`: custom tools and namespaces as functions that a model knows, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from telechat.serve.foreign import objects
from telechat.serve.wire import ApiError


@dataclass
class ToolNames:
    """The tools as functions, and what they are to the client: `custom` ones, and those of a namespace.

    The model is shown a tool's own name; one of a namespace is shown as `namespace__name` where another tool has its name.
    """

    tools: list[dict[str, Any]] = field(default_factory=list)
    custom: set[str] = field(default_factory=set)
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)
    _shown: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, tools: Sequence[Mapping[str, Any]]) -> ToolNames:
        """Read the tools of a request; raises `ApiError` for one without a name."""
        found = cls()
        given = list(_flat(tools, "tools", None))
        names = Counter(tool["name"] for tool, _ in given)
        taken = {tool["name"] for tool, namespace in given if namespace is None}
        for tool, namespace in given:
            shown = tool["name"]
            if namespace is not None:
                if names[shown] > 1:
                    shown = f"{namespace}__{shown}"
                while shown in taken:
                    shown += "_"
                taken.add(shown)
                found.namespaces[shown] = (namespace, tool["name"])
                found._shown.setdefault((namespace, tool["name"]), shown)
            found.tools.append(_function(tool, shown))
            if tool["type"] == "custom":
                found.custom.add(shown)
        return found

    def own(self, shown: str) -> dict[str, str]:
        """`name`, and `namespace` where it has one, of the tool that the model knows as `shown`."""
        namespace, name = self.namespaces.get(shown, (None, shown))
        return {"name": name, **({} if namespace is None else {"namespace": namespace})}

    def shown(self, name: Any, namespace: Any = None) -> Any:
        """What the model is shown for the client's tool `name` of `namespace`."""
        known = isinstance(name, str) and isinstance(namespace, str)
        return self._shown.get((namespace, name), name) if known else name

    def choice(self, choice: Any) -> Any:
        """`tool_choice` as a chat request has it."""
        if not isinstance(choice, dict):
            return choice
        if choice.get("type") in ("function", "custom"):
            return {"type": "function", "function": {"name": self.shown(choice.get("name"), choice.get("namespace"))}}
        if choice.get("type") == "allowed_tools":
            known = {tool["function"]["name"] for tool in self.tools}
            offered = objects(choice.get("tools") or [], "tool_choice.tools")
            chosen = [self.shown(tool.get("name"), tool.get("namespace")) for tool in offered]
            picked = [{"type": "function", "function": {"name": name}} for name in chosen if name in known]
            return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": picked}}
        return "auto"  # a hosted tool, which nobody here can run


def _flat(
    tools: Sequence[Mapping[str, Any]], where: str, namespace: str | None
) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """The functions and custom tools with their namespaces; what only OpenAI can run is left out."""
    for number, tool in enumerate(tools):
        here, kind = f"{where}.{number}", tool.get("type")
        if kind == "namespace" and namespace is None:
            inner = f"{here}.tools"
            yield from _flat(objects(tool.get("tools") or [], inner), inner, str(tool.get("name")))
        elif kind in ("function", "custom"):
            if not isinstance(tool.get("name"), str):
                raise ApiError(400, f"{here}.name: a tool needs a name", f"{here}.name")
            yield tool, namespace


def _function(tool: Mapping[str, Any], name: str) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name}
    if tool.get("description"):
        function["description"] = tool["description"]
    if tool["type"] == "custom":
        function["parameters"] = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    else:
        function["parameters"] = tool.get("parameters") or {"type": "object", "properties": {}}
        if tool.get("strict") is not None:
            function["strict"] = tool["strict"]
    return {"type": "function", "function": function}
