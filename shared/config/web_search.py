"""Searching the web: `[web_search_endpoint]`, the search engine of the server's own tool, and `[tools.web_search]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from shared.config.reader import Values, read
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.config.urls import is_http_url
from shared.protocol.web_search import CONTEXT_SIZES, WebSearchSettings


@dataclass(frozen=True)
class WebSearchEndpoint:
    """A SearXNG whose settings.yml has `json` among its search formats, and how pages are fetched."""

    url: Annotated[
        str,
        Setting(
            "URL of a SearXNG, which `/search` is appended to. Its host may have a private address.",
            matches=is_http_url,
            expected="an http:// or https:// URL without a user",
        ),
    ]
    env_http_headers: Annotated[
        Mapping[str, str],
        Setting("Headers of every search whose values are the names of environment variables, such as a key's."),
    ] = field(default_factory=dict)
    results: Annotated[int, Setting("Results of one search that a model gets.", minimum=1, maximum=50)] = 8
    open_pages: Annotated[
        bool, Setting('Whether workers fetch pages, for threads whose `web_search` is "live"; otherwise nobody\'s do.')
    ] = True
    timeout_seconds: Annotated[
        float, Setting("How long a search, or a page with all its redirects, may take.", unit="s")
    ] = 20.0
    page_bytes: Annotated[
        int,
        Setting(
            "How much of a page is read; a process of its own, with at most 1 GiB, makes it text.",
            unit="bytes",
            minimum=1024,
            maximum=4 << 20,
        ),
    ] = 512 << 10
    page_characters: Annotated[
        int, Setting("How much text of a page a model gets.", unit="characters", minimum=100, maximum=1_000_000)
    ] = 40_000
    searches_per_minute: Annotated[
        int, Setting("Searches and pages of one user per minute, in all workers together; 0: no limit.")
    ] = 30
    private_hosts: Annotated[
        tuple[str, ...],
        Setting(
            "Hosts that pages may come from although their addresses are private: names, addresses or networks.",
            default="none",
        ),
    ] = ()
    resolved_headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # with values

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> WebSearchEndpoint:
        """Read the variables that the settings name. Errors: ConfigError (a variable is not set)."""
        headers = {}
        for name, variable in values.get("env_http_headers", {}).items():
            headers[name] = table.environ.get(variable) or ""
            if not headers[name]:
                raise table.error("env_http_headers", f"the environment variable {variable} to be set", None)
        return cls(**values | {"url": values["url"].rstrip("/")}, resolved_headers=headers)


@dataclass(frozen=True)
class WebSearchTool:
    """What searches have beside their mode, where users and threads choose nothing else.

    is_on: of the older form of this table, `web_search = true` or `false` in [tools]
    """

    allowed_domains: Annotated[
        tuple[str, ...], Setting("Hosts that results and pages may come from, with their subdomains.", default="all")
    ] = ()
    context_size: Annotated[
        str | None,
        Setting("How much a provider's own tool puts before the model.", choices=CONTEXT_SIZES, default="its own"),
    ] = None
    location: Annotated[
        Mapping[str, str],
        Setting("Where users are, for a provider's own tool: `country`, `region`, `city` and `timezone`."),
    ] = field(default_factory=dict)
    is_on: bool = True

    @property
    def chosen(self) -> WebSearchSettings:
        """The options that are set, as a thread has them."""
        chosen: WebSearchSettings = {}
        if self.allowed_domains:
            chosen["allowedDomains"] = self.allowed_domains
        if self.context_size:
            chosen["contextSize"] = self.context_size
        if self.location:
            chosen["location"] = self.location
        return chosen


def read_tool(table: ConfigTable, key: str) -> WebSearchTool | None:
    """Return the table under a key, which may also be true or false. Errors: ConfigError."""
    value = table.get(key)
    if value is None or isinstance(value, bool):
        return None if value is None else WebSearchTool(is_on=value)
    return read(WebSearchTool, table.table(key))


@dataclass(frozen=True)
class Tools:
    """Codex's settings of tools."""

    web_search: Annotated[
        WebSearchTool | None,
        Setting("What searches have; true or false in older files.", default="none", read=read_tool),
    ] = None
