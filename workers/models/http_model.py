"""A model behind an HTTP API: what the Responses API and Chat Completions have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from workers.models.chunks import Chunk, Prompt
from workers.models.client import Stream
from workers.models.connections import Cut

if TYPE_CHECKING:
    from shared.config import Provider
    from workers.control.signal import Signal


@dataclass(frozen=True, slots=True)
class WireApi:
    """One HTTP API of models.

    path:    behind the provider's base URL
    headers: of one request, beside those that every request has
    body:    of one request, to be encoded as JSON
    chunks:  reads the events of the answer. Errors: ModelError (PROTOCOL section 10), Cut
    """

    path: str
    headers: Callable[[Prompt], Mapping[str, str]]
    body: Callable[[Prompt], Mapping[str, object]]
    chunks: Callable[[Stream, Prompt], Iterator[Chunk]]


class HttpModel:
    """The models of a provider in config.toml."""

    def __init__(self, provider: Provider, api: WireApi) -> None:
        self._provider = provider
        self.api = api

    def stream(self, prompt: Prompt, signal: Signal) -> Iterator[Chunk]:
        """Yield the answer to a prompt; ends without TokenUsage as soon as a stop is requested.

        Errors: ModelError (PROTOCOL section 10)
        """
        api = self.api
        stream = Stream(self._provider, api.path, api.headers(prompt), orjson.dumps(api.body(prompt)))
        try:
            with signal.subscribed(lambda _: stream.cut()):
                yield from api.chunks(stream, prompt)
        except Cut:
            return
        finally:
            stream.close()
