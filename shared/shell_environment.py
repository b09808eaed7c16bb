"""The variables that commands run with: `shell_environment_policy`, with the keys and the meaning of the original.

The policy concerns the variables that a command would inherit, and those of `set`. What the server adds for every
command (no colours, no pager) comes last, as in the original. Nothing of the server's own environment is inherited.
Source: config of Codex, shell_environment_policy
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypedDict, cast

INHERIT = ("all", "core", "none")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
READONLY = frozenset(("BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"))  # of the shell
LIKE_SECRETS = ("*KEY*", "*SECRET*", "*TOKEN*")


class ShellEnvironmentPolicy(TypedDict, total=False):
    """Keys of the policy; one that is absent has its default.

    inherit:      "none": commands inherit nothing; "all" and "core": what the sandbox has
    ignore_default_excludes: False leaves out inherited variables that look LIKE_SECRETS
    exclude:      patterns of names to leave out, in which `*` and `?` stand for anything; case does not matter
    include_only: patterns of the only names to keep, if there are any
    set:          variables and their values; these are not excluded
    """

    inherit: str
    ignore_default_excludes: bool
    exclude: Collection[str]
    include_only: Collection[str]
    set: Mapping[str, str]


def is_settable(name: str) -> bool:
    """Return whether a shell can set a variable of this name."""
    return NAME.fullmatch(name) is not None and name not in READONLY


def merged(policy: Mapping[str, Any], over: Mapping[str, Any]) -> ShellEnvironmentPolicy:
    """Return a policy with the keys of another one over it; variables of both are set."""
    both = {**policy, **over, "set": {**policy.get("set", {}), **over.get("set", {})}}
    return cast(ShellEnvironmentPolicy, both)


def variables(
    policy: ShellEnvironmentPolicy, inherited: Iterable[str], fixed: Collection[str]
) -> dict[str, str | None]:
    """Return what a policy changes of a command's variables: values, and None for what is left out.

    inherited: names that the policy may leave out. fixed: names that it cannot change.
    """
    excludes = [*policy.get("exclude", ()), *(() if policy.get("ignore_default_excludes", True) else LIKE_SECRETS)]
    only = policy.get("include_only", ())

    def is_left_out(name: str) -> bool:
        return bool(only) and not _matches(name, only)

    changed: dict[str, str | None] = {
        name: None
        for name in inherited
        if policy.get("inherit") == "none" or _matches(name, excludes) or is_left_out(name)
    }
    own = {name: value for name, value in policy.get("set", {}).items() if not is_left_out(name)}
    return {name: value for name, value in {**changed, **own}.items() if name not in fixed}


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name matches; fnmatch knows brackets, too, which stand for themselves here."""
    return any(fnmatchcase(name.upper(), pattern.upper().replace("[", "[[]")) for pattern in patterns)
