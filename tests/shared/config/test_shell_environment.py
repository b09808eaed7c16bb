"""[shell_environment_policy] in config.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.config import load
from shared.errors import ConfigError


def test_variables_are_set_and_no_value_is_shown_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[shell_environment_policy.set]\nA = "hidden"\nEMPTY = ""\n')

    config = load(tmp_path, {"OPENAI_API_KEY": "k"})

    assert config.shell_environment_policy.set == {"A": "hidden", "EMPTY": ""}
    assert "hidden" not in repr(config)
    assert config.warnings == ()


def test_a_name_that_no_shell_can_set_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[shell_environment_policy.set]\n"A-B" = "x"\n')

    with pytest.raises(ConfigError, match=r"shell_environment_policy\.set\.A-B: expected a name that a shell can set"):
        load(tmp_path, {"OPENAI_API_KEY": "k"})
