"""The tools of `/v1/responses`: custom tools and namespaces as functions that a model knows, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from telechat.serve.foreign import objects
from telechat.serve.wire import ApiError


@dataclass
class ToolNames:
    """The tools as functions, and what they are to the client: `custom` ones, and those of a namespace.

    The model is shown a tool's own name where it is the only one of that name, else `namespace__name`.
    """

    tools: list[dict[str, Any]] = field(default_factory=list)
    custom: set[str] = field(default_factory=set)
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, tools: Sequence[Mapping[str, Any]]) -> ToolNames:
        """Read the tools of a request; raises `ApiError` for one without a name."""
        found = cls()
        found._read(tools, "tools", None)
        return found

    def _read(self, tools: Sequence[Mapping[str, Any]], where: str, namespace: str | None) -> None:
        for number, tool in enumerate(tools):
            here, kind = f"{where}.{number}", tool.get("type")
            if kind == "namespace" and namespace is None:
                self._read(objects(tool.get("tools") or [], f"{here}.tools"), f"{here}.tools", str(tool.get("name")))
            if kind not in ("function", "custom"):
                continue
            name = tool.get("name")
            if not isinstance(name, str):
                raise ApiError(400, f"{here}.name: a tool needs a name", f"{here}.name")
            shown = name
            if namespace is not None:
                if any(other["function"]["name"] == name for other in self.tools):
                    shown = f"{namespace}__{name}"
                self.namespaces[shown] = (namespace, name)
            self.tools.append(_function(tool, shown))
            if kind == "custom":
                self.custom.add(shown)

    def own(self, shown: str) -> dict[str, str]:
        """`name`, and `namespace` where it has one, of the tool that the model knows as `shown`."""
        namespace, name = self.namespaces.get(shown, (None, shown))
        return {"name": name, **({} if namespace is None else {"namespace": namespace})}

    def shown(self, name: Any, namespace: Any = None) -> Any:
        """What the model is shown for the client's tool `name` of `namespace`."""
        named = (shown for shown, own in self.namespaces.items() if own == (namespace, name))
        return name if namespace is None else next(named, name)

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
