from __future__ import annotations

from pathlib import Path

import pytest

from shared.config import load
from shared.errors import ModelError
from workers.models import model_for
from workers.models.chat_completions import ChatModel
from workers.models.responses_api import ResponsesModel
from workers.models.scripted import ScriptedModel

TOML = """
model = "m"
model_provider = "local"
[model_providers.local]
base_url = "http://127.0.0.1:1/v1"
wire_api = "chat"
"""


def test_the_provider_decides_which_model_answers(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(TOML)
    config = load(tmp_path, {})

    assert isinstance(model_for(config, "local"), ChatModel)
    assert isinstance(model_for(config, "openai"), ResponsesModel)
    assert isinstance(model_for(config, "scripted"), ScriptedModel)


def test_a_provider_that_is_gone_fails_the_turn_and_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gone"):
        model_for(load(tmp_path, {}), "gone")
