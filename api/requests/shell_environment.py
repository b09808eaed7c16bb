"""`shell_environment_policy` and `allow_login_shell` in the `config` of a request or in a user's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from api.requests.params import load
from api.requests.schemas import variant
from shared.errors import InvalidParams
from shared.key_paths import value_of
from shared.shell_environment import INHERIT, ShellEnvironmentPolicy, is_settable

KEY = "shell_environment_policy"
LOGIN_KEY = "allow_login_shell"
MAX_ENTRIES = 200
MAX_NAME_CHARACTERS = 200
MAX_VALUE_CHARACTERS = 20_000


def _settable(name: str) -> None:
    if len(name) > MAX_NAME_CHARACTERS or not is_settable(name):
        raise ValidationError(f"no variable can have the name {name[:80]!r}")


def _value(text: str) -> None:
    if "\0" in text or len(text) > MAX_VALUE_CHARACTERS:
        raise ValidationError(f"expected at most {MAX_VALUE_CHARACTERS} characters, none of them NUL")


def _patterns() -> fields.Field[Any]:
    pattern = fields.Str(validate=validate.Length(max=MAX_NAME_CHARACTERS))
    return fields.List(pattern, validate=validate.Length(max=MAX_ENTRIES))


# Shape: {"inherit", "ignore_default_excludes": bool, "exclude", "include_only": [str], "set": {name: str}}
POLICY = Schema.from_dict(
    {
        "inherit": fields.Str(validate=variant(*INHERIT)),
        "ignore_default_excludes": fields.Bool(),
        "exclude": _patterns(),
        "include_only": _patterns(),
        "set": fields.Dict(
            keys=fields.Str(validate=_settable),
            values=fields.Str(validate=_value),
            validate=validate.Length(max=MAX_ENTRIES),
        ),
    }
)


def shell_environment(values: Mapping[str, object]) -> ShellEnvironmentPolicy | None:
    """Return the policy that keys of `config` give, as a table or as key paths; None without any.

    Errors: InvalidParams
    """
    given = value_of(values, KEY)
    if given is None:
        return None
    policy: ShellEnvironmentPolicy = load(Schema.from_dict({KEY: fields.Nested(POLICY)})(), {KEY: given})[KEY]
    return policy


def login_shell(values: Mapping[str, object]) -> bool | None:
    """Return whether `config` allows login shells; None when it does not say. Errors: InvalidParams."""
    value = values.get(LOGIN_KEY)
    if value is not None and not isinstance(value, bool):
        raise InvalidParams(f"config.{LOGIN_KEY}: expected true or false")
    return value
