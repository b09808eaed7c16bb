"""Namespaces of functions (MCP servers), for an API without them: a function is called NAMESPACE__NAME there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from shared.protocol.model_items import FunctionCall, ModelCall, OfferedTool


def flat_tools(tools: Sequence[OfferedTool]) -> Iterator[OfferedTool]:
    """Return tools with the functions of namespaces in their place."""
    for tool in tools:
        if tool["type"] != "namespace":
            yield tool
            continue
        for function in tool["tools"]:
            yield {**function, "name": _flat_name(tool["name"], function["name"])}


def namespaced(tools: Sequence[OfferedTool]) -> Mapping[str, tuple[str, str]]:
    """Return the flat name of each function of a namespace → (namespace, name)."""
    return {
        _flat_name(tool["name"], function["name"]): (tool["name"], function["name"])
        for tool in tools
        if tool["type"] == "namespace"
        for function in tool["tools"]
    }


def function_call(call_id: str, flat_name: str, arguments: str, names: Mapping[str, tuple[str, str]]) -> FunctionCall:
    """Return a call as the history keeps it. names: as `namespaced` returns them"""
    namespace, name = names.get(flat_name, ("", flat_name))
    call = FunctionCall(type="function_call", call_id=call_id, name=name, arguments=arguments)
    if namespace:
        call["namespace"] = namespace
    return call


def called_name(call: ModelCall) -> str:
    """Return the flat name of a call."""
    namespace = call.get("namespace")
    return _flat_name(str(namespace), call["name"]) if namespace else call["name"]


def _flat_name(namespace: str, name: str) -> str:
    return f"{namespace}__{name}"
