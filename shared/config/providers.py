"""`[model_providers.NAME]`: the servers that answer model requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.errors import ConfigError

_URL = re.compile("https?://")
WIRE_APIS = ("responses", "chat")

SCRIPTED = "scripted"  # the built-in provider that is no language model, and its only model
# What the built-in script shows when a message is only this word (workers/models/scripted.py), for people.
SCRIPTED_WORDS = {
    "approval": "a command that needs your approval",
    "patch": "a file that the agent adds",
    "plan": "a plan, and its progress",
    "question": "a question to you, in plan mode",
    "stream": "a long answer",
}
OPENAI = "openai"  # the built-in provider that needs only OPENAI_API_KEY
OPENAI_MODEL = "gpt-5.5"  # the model of `openai` when `model` is not set


@dataclass(frozen=True)
class Provider:
    """A server that answers model requests, and how to send them."""

    name: Annotated[str, Setting("The name that clients see.", default="NAME")]
    base_url: Annotated[
        str,
        Setting(
            "URL that `/responses` or `/chat/completions` is appended to.",
            matches=_URL.match,
            expected="an http:// or https:// URL",
        ),
    ]
    env_key: Annotated[
        str | None, Setting("The environment variable that contains the API key; without it no key is sent.")
    ] = None
    wire_api: Annotated[
        str, Setting("The API: Responses, or Chat Completions (vLLM, Ollama, llama.cpp).", choices=WIRE_APIS)
    ] = "responses"
    web_search: Annotated[
        bool,
        Setting(
            "Whether it has the Responses API's own tool `web_search`.",
            default=f"false; true for {OPENAI} when `web_search` is set",
        ),
    ] = False
    http_headers: Annotated[Mapping[str, str], Setting("Headers of every request.")] = field(
        default_factory=dict, repr=False
    )
    env_http_headers: Annotated[
        Mapping[str, str], Setting("Headers of every request whose values are the names of environment variables.")
    ] = field(default_factory=dict)
    query_params: Annotated[Mapping[str, str], Setting("Parameters that are added to the URL of every request.")] = (
        field(default_factory=dict, repr=False)
    )
    request_max_retries: Annotated[int, Setting("How often a request that got no stream is sent again.")] = 4
    stream_max_retries: Annotated[int, Setting("How often a broken stream is started again.")] = 5
    stream_idle_timeout_ms: Annotated[
        int, Setting("How long a stream may be silent before it counts as broken.", unit="ms", minimum=1)
    ] = 300_000
    api_key: str | None = field(default=None, repr=False)  # the value of env_key; None: the variable is not set
    resolved_headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # both kinds of headers, with values

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> Provider:
        """Read the variables that the settings name. Errors: ConfigError (the name of a built-in provider)."""
        if table.entry == SCRIPTED:
            raise ConfigError(f"{table.file}: model_providers.{SCRIPTED}: expected another name, this one is built in")
        if values.get("web_search") and values.get("wire_api", "responses") != "responses":
            raise table.error("web_search", 'false, for only wire_api = "responses" has that tool', True)
        environ, env_key = table.environ, values.get("env_key")
        from_environment = {name: environ.get(key) for name, key in values.get("env_http_headers", {}).items()}
        headers = values.get("http_headers", {}) | {name: value for name, value in from_environment.items() if value}
        return cls(
            **{"name": table.entry} | values | {"base_url": values["base_url"].rstrip("/")},
            api_key=(environ.get(env_key) or None) if env_key else None,
            resolved_headers=headers,
        )


def openai(environ: Mapping[str, str], *, web_search: bool) -> Provider:
    """Return the built-in provider `openai`."""
    return Provider(
        "OpenAI",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        web_search=web_search,
        api_key=environ.get("OPENAI_API_KEY") or None,
    )


def choose_model(values: Values, known: Mapping[str, Provider], table: ConfigTable) -> tuple[str, str]:
    """Return (model_provider, model), as configured or as they follow from what is set. Errors: ConfigError."""
    provider, model = values.get("model_provider"), values.get("model")
    if provider is None and known[OPENAI].api_key:
        provider = OPENAI
    if provider is None:
        if model is not None or len(known) > 1:
            table.warn("model_provider: not set and no OPENAI_API_KEY: the built-in scripted model answers")
        return SCRIPTED, SCRIPTED
    if provider == SCRIPTED:
        return SCRIPTED, model or SCRIPTED
    if provider not in known:
        raise table.error("model_provider", f"one of {', '.join([*known, SCRIPTED])}", provider, show=True)
    if model is None and provider != OPENAI:
        raise table.error("model", f"the name of a model that {provider} serves", None)
    return provider, model or OPENAI_MODEL
