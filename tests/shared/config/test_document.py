"""docs/SETTINGS.md lists every declared setting."""

from __future__ import annotations

from pathlib import Path

from shared.config.document import document

PAGE = Path(__file__).parents[3] / "docs" / "SETTINGS.md"


def test_the_page_of_settings_is_current() -> None:
    assert PAGE.read_text() == document(), "python -m shared.config.document > docs/SETTINGS.md"


def test_a_row_has_type_default_unit_range_and_description() -> None:
    assert (
        "| `warn_percent` | integer | `80` | % | 1 to 100 | config.toml |"
        " Part of a token budget after which the user is warned, once per day or month. |"
    ) in document()
