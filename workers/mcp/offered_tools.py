"""The tools of a thread's MCP servers, under the names that models know them by.

A model sees a server as a namespace `mcp__SERVER` of functions. Names are made of letters, digits and `_`; together
they have at most 64 characters, so that `NAMESPACE__TOOL` is a function name for Chat Completions, too. Two that would
be the same differ by a digest of their real names. The result depends on names alone, so every worker makes the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from shared.config.mcp_servers import McpServer
from shared.protocol.model_items import Namespace, ToolDefinition

if TYPE_CHECKING:
    from workers.mcp.session import McpSession

PREFIX = "mcp__"
MAX_NAMESPACE = 31
MAX_NAME = 64
MAX_DESCRIPTION = 8192
DIGEST = 8
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class McpTool:
    """One tool. definition: as its server gave it."""

    server: McpServer
    session: McpSession
    definition: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name at the server."""
        return str(self.definition["name"])

    @property
    def annotations(self) -> Mapping[str, Any]:
        found = self.definition.get("annotations")
        return found if isinstance(found, Mapping) else {}

    @property
    def read_only(self) -> bool | None:
        """Whether it says that it changes nothing; None: it does not say."""
        hint = self.annotations.get("readOnlyHint")
        return hint if isinstance(hint, bool) else None

    @property
    def may_repeat(self) -> bool:
        """Whether a call may be made again of which nobody knows how it ended."""
        return self.read_only is True or self.annotations.get("idempotentHint") is True


class OfferedTools:
    """The tools of a thread's sessions, as models may call them now.

    sessions: of all servers of the thread, by name
    """

    def __init__(self, sessions: Mapping[str, McpSession]) -> None:
        self.sessions = sessions
        self._namespaces: dict[str, tuple[McpSession, dict[str, McpTool]]] = {}
        for server_name, namespace in unique_names(sorted(sessions), PREFIX, MAX_NAMESPACE).items():
            session = sessions[server_name]
            used = {str(one["name"]): one for one in session.tools if session.server.uses_tool(str(one["name"]))}
            names = unique_names(sorted(used), "", MAX_NAME - len(namespace) - 2)
            tools = {short: McpTool(session.server, session, used[name]) for name, short in names.items()}
            self._namespaces[namespace] = session, tools

    def find(self, namespace: str | None, name: str) -> McpTool | None:
        """Return a tool by the names that the model uses."""
        _, tools = self._namespaces.get(namespace or "", (None, {}))
        return tools.get(name)

    def specs(self) -> list[Namespace]:
        """Return the definitions for the model: a namespace for each server with tools, sorted by name."""
        found: list[Namespace] = []
        for namespace, (session, tools) in sorted(self._namespaces.items()):
            functions = [_function(name, tool.definition) for name, tool in sorted(tools.items())]
            if functions:
                about = session.info.get("instructions")
                found.append(
                    {
                        "type": "namespace",
                        "name": namespace,
                        "description": about[:MAX_DESCRIPTION] if isinstance(about, str) else "",
                        "tools": functions,
                    }
                )
        return found


def unique_names(names: Iterable[str], prefix: str, most: int) -> dict[str, str]:
    """Return real name → name for models, of at most so many characters. names: sorted."""
    found: dict[str, str] = {}
    for name in names:
        short = prefix + re.sub(r"[^A-Za-z0-9_]", "_", name)
        if len(short) > most or short in found.values():
            digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST]
            short = f"{short[: most - DIGEST - 1]}_{digest}"
        found[name] = short
    return found


def clean_schema(schema: object, depth: int = MAX_DEPTH) -> Any:
    """Return a JSON Schema without what models are not sent, and without members of the wrong type.

    The rest (titles, defaults, bounds, formats) is refused by some of their servers.
    """
    if not isinstance(schema, Mapping) or not depth:
        return schema if isinstance(schema, bool) else {}
    cleaned: dict[str, Any] = {}
    for key, value in schema.items():
        match key, value:
            case "properties" | "$defs" | "definitions", Mapping():
                cleaned[key] = {name: clean_schema(inner, depth - 1) for name, inner in value.items()}
            case "anyOf" | "oneOf" | "allOf", [_, *_]:
                cleaned[key] = [clean_schema(inner, depth - 1) for inner in value]
            case "items" | "additionalProperties", Mapping() | bool():
                cleaned[key] = clean_schema(value, depth - 1)
            case ("description" | "$ref", str()) | ("enum", [_, *_]) | ("const", _):
                cleaned[key] = value
            case "required", list() if all(isinstance(one, str) for one in value):
                cleaned[key] = list(dict.fromkeys(value))
            case "type", str() if value in TYPES:
                cleaned[key] = value
            case "type", [_, *_] if all(isinstance(one, str) and one in TYPES for one in value):
                cleaned[key] = list(dict.fromkeys(value))
    return cleaned


def _function(name: str, definition: Mapping[str, Any]) -> ToolDefinition:
    description = definition.get("description")
    parameters = clean_schema(definition.get("inputSchema"))
    return cast(
        ToolDefinition,
        {
            "type": "function",
            "name": name,
            "description": description[:MAX_DESCRIPTION] if isinstance(description, str) else "",
            "strict": False,
            "parameters": {"properties": {}, **(parameters if isinstance(parameters, dict) else {}), "type": "object"},
        },
    )
