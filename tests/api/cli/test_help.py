"""The help of the command line: complete, imperative, one sentence per line."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from api.cli import commands


def all_commands(group: click.Group = commands, path: str = "threadhouse") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{path} {name}")


COMMANDS = dict(all_commands())


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_has_a_one_line_summary_that_starts_with_a_verb(path: str) -> None:
    summary = (COMMANDS[path].help or "").splitlines()[0]

    assert summary.endswith(".")
    assert summary[0].isupper()
    assert summary.split()[0].rstrip(",") not in ("A", "An", "The", "What", "Whether")
    assert COMMANDS[path].get_short_help_str(limit=120).rstrip(".") in summary


@pytest.mark.parametrize("path", COMMANDS)
def test_each_option_has_a_help_text_with_a_full_stop(path: str) -> None:
    options = [param for param in COMMANDS[path].params if isinstance(param, click.Option) and not param.hidden]

    assert {option.name: option.help for option in options if not (option.help or "").endswith(".")} == {}


@pytest.mark.parametrize("path", COMMANDS)
def test_each_argument_is_named_in_capitals(path: str) -> None:
    arguments = [param for param in COMMANDS[path].params if isinstance(param, click.Argument)]

    assert [argument.metavar for argument in arguments if argument.metavar is None] == []
