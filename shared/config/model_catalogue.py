"""The models that clients are offered, with their efforts and token limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from shared.config import OPENAI, SCRIPTED

if TYPE_CHECKING:
    from shared.config import Config

CONTEXT_WINDOW_TOKENS = 258_400  # of models that are not listed below; also of the newer ones of OpenAI

# Prefix of a model's name → tokens; the first match counts.
_CONTEXT_WINDOWS = {
    "gpt-4.1": 1_047_576,
    "gpt-4o": 128_000,
    "gpt-4": 128_000,
    "o3": 200_000,
    "o4": 200_000,
    "codex-mini": 200_000,
}

MAX_ANSWER_TOKENS = 32_000  # of models that are not listed below
_MAX_ANSWERS = {
    "gpt-6": 128_000,
    "gpt-5": 128_000,
    "gpt-4.1": 32_768,
    "gpt-4o": 16_384,
    "gpt-4": 8_192,
    "o3": 100_000,
    "o4": 100_000,
    "codex-mini": 100_000,
}

_EFFORTS = {
    "low": "Fast responses with lighter reasoning",
    "medium": "Balances speed and depth of reasoning",
    "high": "More reasoning for complex problems",
    "xhigh": "Much reasoning for the hardest problems",
    "max": "As much reasoning as the model can do",
}
_COMMON_EFFORTS = ("low", "medium", "high")
_EXTENDED_EFFORTS = ("low", "medium", "high", "xhigh")
_ALL_EFFORTS = tuple(_EFFORTS)

# The models of the provider `openai`: name → efforts, default effort.
_OPENAI_MODELS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "gpt-6-astra": (_ALL_EFFORTS, "low"),
    "gpt-6.1-sol": (_ALL_EFFORTS, "low"),
    "gpt-6-sol": (_ALL_EFFORTS, "medium"),
    "gpt-6-luna": (_ALL_EFFORTS, "medium"),
    "gpt-5.6-sol": (_ALL_EFFORTS, "low"),
    "gpt-5.6-terra": (_ALL_EFFORTS, "medium"),
    "gpt-5.6-luna": (_ALL_EFFORTS, "medium"),
    "gpt-5.5": (_EXTENDED_EFFORTS, "medium"),
}


class ReasoningEffort(TypedDict):
    """A reasoning effort that a model supports. reasoningEffort: for `effort` of turn/start"""

    reasoningEffort: str
    description: str


class Model(TypedDict):
    """A model that clients are offered. Members that are always null or empty have no meaning here.

    id, model: for `model` of thread/start and turn/start
    isDefault: exactly one model is the default
    inputModalities: "text" and "image"
    """

    id: str
    model: str
    displayName: str
    description: str
    hidden: bool
    supportedReasoningEfforts: Sequence[ReasoningEffort]
    defaultReasoningEffort: str
    inputModalities: Sequence[str]
    supportsPersonality: bool
    isDefault: bool
    upgrade: None
    upgradeInfo: None
    availabilityNux: None
    additionalSpeedTiers: Sequence[str]
    serviceTiers: Sequence[str]
    defaultServiceTier: None
    multiAgentVersion: None
    modelSpecialty: None
    availableAccessPrograms: None


def models(config: Config) -> list[Model]:
    """Return the Model objects of `model/list` for the configured provider, the default one first.

    Shape:  PROTOCOL.md 5.12, every field present; exactly one has isDefault
    """
    if config.model_provider == SCRIPTED:
        entry = _model(
            config.model, "Scripted", "Built in, not a language model; runs `$ COMMAND`", ("none",), "none", True
        )
        return [{**entry, "inputModalities": ["text"]}]
    names = list(_OPENAI_MODELS) if config.model_provider == OPENAI else []
    ordered = [config.model, *(name for name in names if name != config.model)]
    return [_configured(config, name) for name in ordered]


def known_models(config: Config) -> frozenset[str]:
    """Return the names of models that the operator, or this server, knows; clients may name others."""
    priced = (price.model for price in config.prices.models)
    return frozenset((config.model, *_OPENAI_MODELS, *priced))


def context_window(model: str) -> int:
    """Return how many tokens a model's input may have; CONTEXT_WINDOW_TOKENS for unknown models."""
    return next(
        (tokens for prefix, tokens in _CONTEXT_WINDOWS.items() if model.startswith(prefix)), CONTEXT_WINDOW_TOKENS
    )


def max_answer_tokens(model: str) -> int:
    """Return how many tokens a model's answer may have, including reasoning; MAX_ANSWER_TOKENS for unknown models."""
    return next((tokens for prefix, tokens in _MAX_ANSWERS.items() if model.startswith(prefix)), MAX_ANSWER_TOKENS)


def _configured(config: Config, name: str) -> Model:
    efforts, default_effort = _OPENAI_MODELS.get(name, (_COMMON_EFFORTS, "medium"))
    is_default = name == config.model
    if is_default and config.model_reasoning_effort is not None:
        default_effort = config.model_reasoning_effort
        efforts = efforts if default_effort in efforts else (*efforts, default_effort)
    provider = config.model_providers[config.model_provider]
    display_name = name.replace("gpt-", "GPT-")
    return _model(name, display_name, f"Served by {provider.name}", efforts, default_effort, is_default)


def _model(
    name: str, display_name: str, description: str, efforts: tuple[str, ...], default_effort: str, is_default: bool
) -> Model:
    return {
        "id": name,
        "model": name,
        "displayName": display_name,
        "description": description,
        "hidden": False,
        "supportedReasoningEfforts": [
            {"reasoningEffort": effort, "description": _EFFORTS.get(effort, f"Reasoning effort {effort}")}
            for effort in efforts
        ],
        "defaultReasoningEffort": default_effort,
        "inputModalities": ["text", "image"],
        "supportsPersonality": False,
        "isDefault": is_default,
        "upgrade": None,
        "upgradeInfo": None,
        "availabilityNux": None,
        "additionalSpeedTiers": [],
        "serviceTiers": [],
        "defaultServiceTier": None,
        "multiAgentVersion": None,
        "modelSpecialty": None,
        "availableAccessPrograms": None,
    }
