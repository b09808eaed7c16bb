"""The list of skills that the model reads: names, descriptions, and where the texts are.

It is a message in the log, added once, and again as a whole when the list has changed.

Source: BEHAVIOUR-171 7; the text on how to use skills is our own
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from workers.workspace.skills import Skill, Skills

OPENING, CLOSING = "<skills_instructions>\n", "</skills_instructions>"
USAGE = resources.files("workers.agent").joinpath("skills.md").read_text()
INTRODUCTION = (
    "## Skills\n"
    "A skill is a set of local instructions to follow that is stored in a `SKILL.md` file. Below is the list of skills "
    "that can be used. Each entry includes a name, description, and a short path that can be expanded into an absolute "
    "path using the skill roots table.\n"
)
GONE = f"{OPENING}## Skills\nThe skills that were listed before are not available any more.\n{CLOSING}"
BUDGET_SHARE = 50  # of the context window: the list may have one in so many tokens
CHARACTERS_PER_TOKEN = 4
SCOPES = {"admin": 0, "repo": 1, "user": 2}  # the order of the list


def text_to_add(skills: Skills, last: str | None, context_window: int) -> str | None:
    """Return the message that makes the model's list the current one; None when it is.

    last: the last such message in the log
    """
    text = _text(skills, context_window * CHARACTERS_PER_TOKEN // BUDGET_SHARE)
    if text is None:
        return None if last in (None, GONE) else GONE
    return None if last == text else text


def _text(skills: Skills, budget: int) -> str | None:
    """Return the message; None when there is nothing to list. budget: characters of the list"""
    listed = [skill for skill in skills.skills if skill.enabled and skill.is_implicit]
    listed.sort(key=lambda skill: SCOPES[skill.scope])
    if not listed:
        return None
    used = {skill.root for skill in listed}
    aliases = {root: f"r{number}" for number, root in enumerate(root for root in skills.roots if root in used)}
    table = "".join(f"- `{alias}` = `{root}`\n" for root, alias in aliases.items())
    entries = _within(budget, [_entry(skill, aliases) for skill in listed])
    return f"{OPENING}{INTRODUCTION}### Skill roots\n{table}### Available skills\n{entries}{USAGE}{CLOSING}"


def _entry(skill: Skill, aliases: dict[Path, str]) -> Callable[[int], str]:
    """Return a function from the number of characters that its description may have to the line of a skill."""
    is_below = skill.path.is_relative_to(skill.root)  # else a link led to it
    path = Path(aliases[skill.root]) / skill.path.relative_to(skill.root) if is_below else skill.path
    return lambda most: f"- {skill.name}: {skill.description[:most]} (file: {path})\n"


def _within(budget: int, entries: Sequence[Callable[[int], str]]) -> str:
    """Return the lines. Beyond the budget all descriptions are cut to one length, and then the last lines left out."""
    longest = max(len(entry(10**6)) for entry in entries)
    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        if sum(len(entry(middle)) for entry in entries) <= budget:
            low = middle
        else:
            high = middle - 1
    lines: list[str] = []
    total = 0
    for entry in entries:
        line = entry(low)
        total += len(line)
        if total > budget:
            left_out = len(entries) - len(lines)
            return "".join(lines) + f"- {left_out} more skills are not listed, because the list would be too long.\n"
        lines.append(line)
    return "".join(lines)
