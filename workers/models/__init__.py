"""Models: a prompt in, chunks out (chunks.py), whatever API they are behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from shared.config import SCRIPTED
from shared.errors import ModelError
from workers.models.chat_completions import ChatModel
from workers.models.chunks import Chunk, Prompt
from workers.models.responses_api import ResponsesModel
from workers.models.scripted import ScriptedModel

if TYPE_CHECKING:
    from shared.config import Config
    from workers.agent.signal import Signal


class Model(Protocol):
    def stream(self, prompt: Prompt, signal: Signal) -> Iterator[Chunk]:
        """The answer to one prompt; ends without Usage as soon as the signal is called.

        Errors: ModelError
        """
        ...


def model_for(config: Config, provider_name: str) -> Model:
    """The models of one provider. Cheap: connections belong to the process.

    Errors: ModelError (a thread may name a provider that is no longer configured)
    """
    if provider_name == SCRIPTED:
        return ScriptedModel()
    provider = config.model_providers.get(provider_name)
    if provider is None:
        raise ModelError(f"model provider `{provider_name}` is not in config.toml", info="badRequest")
    return ChatModel(provider) if provider.wire_api == "chat" else ResponsesModel(provider)
