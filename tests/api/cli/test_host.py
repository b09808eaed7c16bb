"""What several commands share: durations, tables, addresses."""

from __future__ import annotations

import click
import pytest

from api.cli.host import format_time, is_loopback, read_duration_ms, show


@pytest.mark.parametrize(("text", "ms"), [("45s", 45_000), ("30m", 1_800_000), ("12h", 43_200_000), ("1d", 86_400_000)])
def test_a_duration_is_a_number_and_a_unit(text: str, ms: int) -> None:
    assert read_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "0d", "d", "1", "1w", "-1d", "1.5h"])
def test_other_texts_are_not_durations(text: str) -> None:
    with pytest.raises(click.BadParameter, match="such as 90d"):
        read_duration_ms(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("threads.example.com", False)],
)
def test_is_loopback_accepts_addresses_and_names(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def test_a_table_shows_times_and_missing_values(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"name": "ada", "created_at_ms": 0, "disabled_at_ms": None}], as_json=False)

    assert capsys.readouterr().out.splitlines() == [
        "name  created               disabled",
        f"ada   {format_time(0)}  -",
    ]


def test_json_lines_keep_milliseconds(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"name": "ada", "created_at_ms": 0}], as_json=True)

    assert capsys.readouterr().out == '{"name": "ada", "created_at_ms": 0}\n'
