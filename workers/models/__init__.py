"""Models: a prompt goes in, chunks come out (chunks.py), whatever API the model is behind.

chunks.py            Prompt and Chunk: what the agent and the adapters agree on
http_model.py        HttpModel: a model behind an HTTP API; `WIRE_APIS` below names the APIs
responses_api.py, chat_completions.py   one API each: the request's body, the events of the answer
output.py, thinking_tags.py   what an answer's text and calls consist of, where the server does not say
client.py, connections.py, failures.py, sse.py   HTTP: retries, cutting a request, error texts, server-sent events
scripted.py          the built-in model that needs no provider

Imports shared and workers.control.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from shared.config import SCRIPTED
from shared.errors import ModelError
from workers.models import chat_completions, responses_api
from workers.models.chunks import Chunk, Prompt
from workers.models.http_model import HttpModel
from workers.models.scripted import ScriptedModel

if TYPE_CHECKING:
    from shared.config import Config
    from workers.control.signal import Signal

WIRE_APIS = {"responses": responses_api.API, "chat": chat_completions.API}  # by `wire_api` of a provider


class Model(Protocol):
    """Anything that answers prompts."""

    def stream(self, prompt: Prompt, signal: Signal) -> Iterator[Chunk]:
        """Yield the answer to a prompt; ends without TokenUsage as soon as a stop is requested.

        Errors: ModelError
        """
        ...


def model_for(config: Config, provider_name: str) -> Model:
    """Return the models of a provider. Cheap: connections belong to the process.

    Errors: ModelError (a thread may name a provider that is no longer configured)
    """
    if provider_name == SCRIPTED:
        return ScriptedModel()
    provider = config.model_providers.get(provider_name)
    if provider is None:
        raise ModelError(f"model provider `{provider_name}` is not in config.toml", info="badRequest")
    return HttpModel(provider, WIRE_APIS[provider.wire_api])
