from __future__ import annotations

from pathlib import Path

import pytest

from shared.config import load
from shared.errors import ModelError
from workers.models import chat_completions, model_for, responses_api
from workers.models.http_model import HttpModel
from workers.models.scripted import ScriptedModel

TOML = """
model = "m"
model_provider = "local"
[model_providers.local]
base_url = "http://127.0.0.1:1/v1"
wire_api = "chat"
"""


def test_wire_api_of_the_provider_decides_which_adapter_answers(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(TOML)
    config = load(tmp_path, {})

    for name, api in {"local": chat_completions.API, "openai": responses_api.API}.items():
        model = model_for(config, name)
        assert isinstance(model, HttpModel)
        assert model.api is api
    assert isinstance(model_for(config, "scripted"), ScriptedModel)


def test_missing_provider_is_a_model_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gone"):
        model_for(load(tmp_path, {}), "gone")
