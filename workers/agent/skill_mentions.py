"""The skills that a message of the user names: by `$name`, by a link `[$name](path)`, or by an input item.

Their whole texts go to the model in a message of their own, which the log keeps behind the user's.

Source: BEHAVIOUR-171 7
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import re2

from shared.errors import ToolError
from shared.protocol.model_items import Message, text_message
from shared.protocol.user_input import UserInput
from workers.workspace.skills import Skill, Skills

# By RE2, which takes a time in proportion to the text, and lets other threads run meanwhile.
MENTION = re2.compile(r"\[\$[^\]\n]{1,200}\]\(([^()\s]+)\)|\$([\w:-]{1,200})")
MAX_READ_CHARACTERS = 1 << 20  # of a text; nobody names a skill behind them
LINK_SCHEME = "skill://"
MAX_NAMED = 16  # skills of one message
MAX_CHARACTERS = 512 * 1024  # of all their texts


def reader(skills: Skills | None, refused: list[str]) -> Callable[[Sequence[UserInput]], list[Message]]:
    """Return a function from a user's input to messages with the texts of the skills that it names.

    skills:  None: the server did not look for them
    refused: gets a sentence about each skill that was named and that the model does not get
    """

    def read(message: Sequence[UserInput]) -> list[Message]:
        left = MAX_CHARACTERS
        messages: list[Message] = []
        for skill in named(message, skills, refused):
            try:
                text = skill.read()
            except (ToolError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                refused.append(f"The skill `{skill.name}` was left out: its file cannot be read ({reason}).")
                continue
            left -= len(text)
            if left < 0 or len(messages) == MAX_NAMED:
                refused.append(f"The skill `{skill.name}` was left out: name fewer skills in one message.")
                continue
            parts = f"<name>{skill.name}</name>\n<path>{skill.path}</path>\n{text}"
            messages.append(text_message("user", f"<skill>\n{parts}\n</skill>"))
        return messages

    return read


def named(message: Sequence[UserInput], skills: Skills | None, refused: list[str]) -> list[Skill]:
    """Return the enabled skills that a message names, each once: those of its items, then the others in their order."""
    known = skills.skills if skills is not None else ()
    by_link: dict[str, list[Skill]] = {}
    by_name: dict[str, list[Skill]] = {}
    for one in known:
        by_link.setdefault(str(one.path), []).append(one)
        by_name.setdefault(one.name, []).append(one)
    found: dict[Path, Skill] = {}
    mentioned: set[Path] = set()
    for part in message:
        if part["type"] == "skill":
            skill = next((one for one in known if str(one.path) == part["path"]), None)
            if skill is None:
                refused.append(f"There is no skill `{part['name'][:80]}` at {part['path'][:300]}; see skills/list.")
            elif _is_offered(skill, refused):
                found[skill.path] = skill
        elif known and part["type"] == "text" and "$" in part["text"]:
            for link, name in dict.fromkeys(MENTION.findall(part["text"][:MAX_READ_CHARACTERS])):
                matches = by_link.get(link.removeprefix(LINK_SCHEME)) if link else by_name.get(name)
                mentioned |= {one.path for one in _mentioned(matches or (), name, refused)}
    return [*found.values(), *(one for one in known if one.path in mentioned and one.path not in found)]


def _mentioned(matches: Sequence[Skill], name: str, refused: list[str]) -> list[Skill]:
    """Return the one skill that a link or a `$name` means. Without one it is text like any other, such as `$HOME`."""
    offered = [one for one in matches if one.enabled]
    if len(offered) > 1:
        paths = ", ".join(str(one.path) for one in offered)
        refused.append(f"Several skills have the name `{name}`, so none was used; name one by its path: {paths[:1000]}")
        return []
    if not offered and matches:
        _is_offered(matches[0], refused)
    return offered


def _is_offered(skill: Skill, refused: list[str]) -> bool:
    if not skill.enabled:
        refused.append(f"The skill `{skill.name}` is disabled; enable it with skills/config/write.")
    return skill.enabled
