"""The model catalogue: the entries of model/list, and context windows."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.config import Config, load
from shared.config.model_catalogue import context_window, models

FIELDS = {
    "id",
    "model",
    "displayName",
    "description",
    "hidden",
    "supportedReasoningEfforts",
    "defaultReasoningEffort",
    "inputModalities",
    "supportsPersonality",
    "isDefault",
    "upgrade",
    "upgradeInfo",
    "availabilityNux",
    "additionalSpeedTiers",
    "serviceTiers",
    "defaultServiceTier",
    "multiAgentVersion",
    "modelSpecialty",
    "availableAccessPrograms",
}
LOCAL = '[model_providers.local]\nbase_url = "http://127.0.0.1:1/v1"\n'


def config(home: Path, toml: str = "", **environ: str) -> Config:
    (home / "config.toml").write_text(toml)
    return load(home, environ)


@pytest.mark.parametrize(
    ("toml", "environ", "default"),
    [
        ("", {}, "scripted"),
        ("", {"OPENAI_API_KEY": "k"}, "gpt-5.5"),
        ('model = "gpt-9"', {"OPENAI_API_KEY": "k"}, "gpt-9"),
        (f'model = "qwen"\nmodel_provider = "local"\n{LOCAL}', {}, "qwen"),
    ],
)
def test_every_entry_has_all_members_and_the_configured_model_is_the_only_default(
    tmp_path: Path, toml: str, environ: dict[str, str], default: str
) -> None:
    entries = models(config(tmp_path, toml, **environ))

    assert all(set(entry) == FIELDS for entry in entries)
    assert [entry["id"] for entry in entries if entry["isDefault"]] == [default]
    assert len({entry["id"] for entry in entries}) == len(entries)
    for entry in entries:
        efforts = [effort["reasoningEffort"] for effort in entry["supportedReasoningEfforts"]]
        assert entry["defaultReasoningEffort"] in efforts
        assert entry["upgrade"] is entry["availabilityNux"] is None


def test_the_configured_effort_is_the_default_of_the_default_model(tmp_path: Path) -> None:
    toml = f'model = "qwen"\nmodel_provider = "local"\nmodel_reasoning_effort = "minimal"\n{LOCAL}'

    (entry,) = models(config(tmp_path, toml))

    assert entry["defaultReasoningEffort"] == "minimal"
    assert "minimal" in [effort["reasoningEffort"] for effort in entry["supportedReasoningEfforts"]]


@pytest.mark.parametrize(("model", "tokens"), [("gpt-5.5", 258_400), ("anything", 258_400), ("gpt-4o-mini", 128_000)])
def test_context_window_has_a_default_for_unknown_models(model: str, tokens: int) -> None:
    assert context_window(model) == tokens
