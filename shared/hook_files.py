"""Hook files: reads `hooks.json` and the table `[hooks]` of a config.toml, which have the same form.

    {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "check", "timeout": 10}]}]}}

Owns what a hook's key, hash and trust are, and which of its fields count. Runs nothing and opens no file. What is wrong
with a single hook leaves out that hook with a warning; what is wrong with the file is a HookFileError.

Source: BEHAVIOUR-171 9
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from shared.protocol.hooks import EVENTS, Hook, HookEvent, HookSource, ListedHook, TrustStatus

STATE = "state"  # beside the events: what the user trusts (user_config), never read from a file
MAX_HOOKS = 64  # of one file
MAX_COMMAND_CHARACTERS = 8000
MAX_MATCHER_CHARACTERS = 500
DEFAULT_TIMEOUT_SECONDS = 600
MAX_TIMEOUT_SECONDS = 600
SESSION_END_SECONDS = 3
WITH_MATCHER = frozenset(
    {"preToolUse", "permissionRequest", "postToolUse", "preCompact", "postCompact", "sessionStart"}
)
PLAIN_MATCHER = re.compile(r"[A-Za-z0-9_|]+")  # names, and no pattern


class HookFileError(ValueError):
    """A hook file that cannot be used. The message names the file."""


@dataclass(frozen=True, slots=True)
class HookFile:
    """The hooks of one file or of several. warnings: what was left out or changed, as sentences for the user."""

    hooks: Sequence[Hook] = ()
    warnings: Sequence[str] = ()

    def __add__(self, other: HookFile) -> HookFile:
        return HookFile([*self.hooks, *other.hooks], [*self.warnings, *other.warnings])


def parse_json(data: bytes, path: str, source: HookSource) -> HookFile:
    """Return the hooks of a hooks.json. path: as clients see it. Errors: HookFileError."""
    try:
        values = orjson.loads(data)
    except ValueError as error:
        raise HookFileError(f"failed to parse hooks config {path}: {error}") from None
    if not isinstance(values, dict):
        raise HookFileError(f"failed to parse hooks config {path}: expected an object with the member `hooks`")
    return read_events(values.get("hooks", {}), path, source)


def read_events(events: object, path: str, source: HookSource) -> HookFile:
    """Return the hooks of the table that has the events' names as keys. Errors: HookFileError."""
    if not isinstance(events, dict):
        raise HookFileError(f"failed to parse hooks config {path}: expected a table of events under `hooks`")
    warnings = [f"unknown hook event {name[:80]} in {path}" for name in events if name not in {*EVENTS, STATE}]
    hooks: list[Hook] = []
    for name, event in EVENTS.items():
        for group, handler, matcher, values in _handlers(events.get(name, []), f"{path}: {name}"):
            hook = _hook(
                event, matcher, values, f"{path}:{_snake_case(event)}:{group}:{handler}", path, source, warnings
            )
            if hook is not None:
                hooks.append(hook)
    if len(hooks) > MAX_HOOKS:
        raise HookFileError(f"failed to parse hooks config {path}: more than {MAX_HOOKS} hooks")
    return HookFile(hooks, warnings)


def _handlers(groups: object, where: str) -> Iterator[tuple[int, int, str | None, Mapping[str, object]]]:
    """Yield (group, handler, matcher, members of the handler). Errors: HookFileError."""
    if not isinstance(groups, list):
        raise HookFileError(f"failed to parse hooks config {where}: expected a list of groups")
    for i, group in enumerate(groups):
        handlers = group.get("hooks", []) if isinstance(group, dict) else None
        matcher = group.get("matcher") if isinstance(group, dict) else None
        if not isinstance(handlers, list) or not isinstance(matcher, str | None):
            raise HookFileError(
                f"failed to parse hooks config {where}: expected groups such as "
                '{"matcher": "Bash", "hooks": [{"type": "command", "command": "…"}]}'
            )
        for j, handler in enumerate(handlers):
            if not isinstance(handler, dict):
                raise HookFileError(f"failed to parse hooks config {where}: expected tables under `hooks` of a group")
            yield i, j, matcher, handler


def _hook(
    event: HookEvent,
    matcher: str | None,
    values: Mapping[str, object],
    key: str,
    path: str,
    source: HookSource,
    warnings: list[str],
) -> Hook | None:
    """Return a hook; None, with a warning, when it cannot run. Errors: HookFileError (a member of a wrong type)."""
    kind, command = values.get("type"), values.get("command", "")
    timeout, message = values.get("timeout", DEFAULT_TIMEOUT_SECONDS), values.get("statusMessage")
    is_number = type(timeout) is int or (isinstance(timeout, float) and math.isfinite(timeout))
    if not isinstance(command, str) or not isinstance(message, str | None) or not is_number:
        raise HookFileError(
            f"failed to parse hooks config {path}: {key}: expected command and statusMessage as strings, timeout as a "
            "number of seconds"
        )
    if event not in WITH_MATCHER:
        matcher = None
    reason = _unusable(kind, command, matcher, values)
    if reason is not None:
        warnings.append(f"skipping {reason} in {path} ({key})")
        return None
    most = SESSION_END_SECONDS if event == "sessionEnd" else MAX_TIMEOUT_SECONDS
    assert isinstance(timeout, int | float)
    if timeout > most:
        warnings.append(f"clamping {'SessionEnd ' if event == 'sessionEnd' else ''}hook timeout to {most}s in {path}")
    meant = {
        "event": event,
        "matcher": matcher,
        "command": command,
        "timeout": max(1, min(round(timeout), most)),
        "statusMessage": message,
    }
    digest = hashlib.sha256(orjson.dumps(meant, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return {
        "key": key,
        "eventName": event,
        "command": command,
        "matcher": matcher,
        "timeoutSec": max(1, min(round(timeout), most)),
        "statusMessage": message,
        "sourcePath": path,
        "source": source,
        "currentHash": f"sha256:{digest}",
    }


def _unusable(kind: object, command: str, matcher: str | None, values: Mapping[str, object]) -> str | None:
    """Return what is wrong with a hook, in words for a warning; None: it can run."""
    if kind != "command":
        return f"{str(kind)[:40]} hook, for only hooks of the type `command` are supported,"
    if values.get("async"):
        return "async hook, for async hooks are not supported,"
    if not command.strip():
        return "empty hook command"
    if len(command) > MAX_COMMAND_CHARACTERS or "\0" in command:
        return f"hook command with NUL or more than {MAX_COMMAND_CHARACTERS} characters"
    if matcher is None:
        return None
    if len(matcher) > MAX_MATCHER_CHARACTERS:
        return f"matcher with more than {MAX_MATCHER_CHARACTERS} characters"
    try:
        re.compile(matcher if matcher != "*" else "")
    except (re.error, RecursionError, OverflowError) as error:
        return f"invalid matcher {matcher[:80]!r} ({error})"
    return None


def matches(hook: Hook, *names: str) -> bool:
    """Return whether a hook is for something with one of these names: the tool, the trigger or the source.

    No matcher, "" and "*" are for everything; "A|B" names the tools A and B; anything else is a regular expression
    that is searched in the name.
    """
    matcher = hook["matcher"]
    if matcher in (None, "", "*"):
        return True
    if PLAIN_MATCHER.fullmatch(matcher):
        return not set(names).isdisjoint(matcher.split("|"))
    return any(re.search(matcher, name) for name in names)


def trust_status(hook: Hook, state: Mapping[str, object], *, managed: bool) -> TrustStatus:
    """Return whether a hook may run. state: what the user has stored under `hooks.state`; managed: by the operator."""
    if managed:
        return "managed"
    entry = state.get(hook["key"])
    trusted = entry.get("trusted_hash") if isinstance(entry, dict) else None
    if trusted is None:
        return "untrusted"
    return "trusted" if trusted == hook["currentHash"] else "modified"


def is_enabled(hook: Hook, state: Mapping[str, object], *, managed: bool) -> bool:
    """Return whether the user has left a hook on. A managed hook cannot be turned off."""
    entry = state.get(hook["key"])
    return managed or not (isinstance(entry, dict) and entry.get("enabled") is False)


def state_of(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return what a user's own configuration says about hooks: key → {"trusted_hash", "enabled"}."""
    hooks = config.get("hooks")
    state = hooks.get(STATE) if isinstance(hooks, dict) else None
    return state if isinstance(state, dict) else {}


def runnable(hooks: Sequence[Hook], state: Mapping[str, object], *, managed: bool) -> list[tuple[int, Hook]]:
    """Return the hooks that may run, each with its place in the whole list."""
    return [
        (order, hook)
        for order, hook in enumerate(hooks)
        if is_enabled(hook, state, managed=managed)
        and trust_status(hook, state, managed=managed) in ("managed", "trusted")
    ]


def listed(hooks: Sequence[Hook], state: Mapping[str, object], *, managed: bool) -> list[ListedHook]:
    """Return hooks as hooks/list shows them."""
    return [
        {
            **hook,
            "handlerType": "command",
            "async": False,
            "additionalContextLimit": None,
            "pluginId": None,
            "environmentId": None,
            "displayOrder": order,
            "enabled": is_enabled(hook, state, managed=managed),
            "isManaged": managed,
            "trustStatus": trust_status(hook, state, managed=managed),
        }
        for order, hook in enumerate(hooks)
    ]


def _snake_case(event: HookEvent) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", event)


def run_name(event: HookEvent) -> str:
    """Return an event's name as it begins the id of a run."""
    return _snake_case(event).replace("_", "-")
