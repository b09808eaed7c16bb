"""What a shell command line does, as far as that can be determined without running it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.protocol.items import CommandAction

RESERVED = re.compile(
    r"if|then|elif|else|fi|for|while|until|do|done|case|esac|function|select|time|coproc|\{|\}|\[\[|\]\]|!"
)
HARMLESS = frozenset(("echo", "false", "printf", "pwd", "true"))
# Without a file argument, these only filter what comes through a pipe.
FILTERS = frozenset(("awk", "column", "cut", "head", "less", "more", "nl", "sort", "tail", "tr", "uniq", "wc"))
# A rule for one of these, with nothing but options behind it, would allow anything.
RUNNERS = re.compile(
    r"(ba|da|fi|k|z|a)?sh|busybox|doas|env|find|git|lua|make|nice|node|nohup|npx|perl|php|pwsh|python[\d.]*|ruby|ssh|sudo"
    r"|su|timeout|xargs"
)
OPTIONS_WITH_VALUE = {
    "head": "nc",
    "tail": "nc",
    "nl": "bdfhilnsvw",
    "ls": "ITw",
    "tree": "LIPo",
    "rg": "ABCMETdefgjmrt",
    "grep": "ABCDdefm",
}
MAX_AMENDMENT_WORDS = 16
MAX_LINE_CHARACTERS = 32 * 1024  # a longer line is not parsed: it is an unknown command, and no rule allows it


def split(line: str) -> list[list[str]] | None:
    """Return the plain commands of a line, each as its words; None when the line has more than words in it.

    More than words are: variables, substitutions, redirections, assignments, groups, background jobs, loops.
    Commands may be joined by `;`, `&&`, `||`, `|` and new lines.
    """
    if len(line) > MAX_LINE_CHARACTERS:
        return None
    commands: list[list[str]] = [[]]
    word: list[str] | None = None  # the pieces of the word that is being read
    position = 0
    while position <= len(line):
        char = line[position : position + 1]
        position += 1
        if char in (" ", "\t", "", "\n", ";", "|", "&"):
            if word is not None:
                commands[-1].append("".join(word))
                word = None
            if char in ("", " ", "\t"):
                continue
            if char in "|&" and line[position : position + 1] == char:
                position += 1
            elif char == "&":
                return None
            commands.append([])
            continue
        if char in "$`<>()" or (char in "#~" and word is None):
            return None
        word = [] if word is None else word
        if char == "'":
            end = line.find("'", position)
            if end < 0:
                return None
            word.append(line[position:end])
            position = end + 1
        elif char == '"':
            quoted = _double_quoted(line, position)
            if quoted is None:
                return None
            text, position = quoted
            word.append(text)
        elif char == "\\":
            if line[position : position + 1] in ("", "\n"):
                return None
            word.append(line[position])
            position += 1
        else:
            word.append(char)
    commands = [words for words in commands if words]
    if not commands or any(RESERVED.fullmatch(words[0]) or "=" in words[0] for words in commands):
        return None
    return commands


def amendment(line: str, prefix_rule: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the words of a rule that would allow this line from now on; None when no single rule can.

    They are the model's proposal if it matches and does not allow just anything, else the whole command.
    """
    commands = [words for words in split(line) or [] if words[0] not in HARMLESS]
    if len(commands) != 1:
        return None
    words = commands[0]
    proposed = list(prefix_rule or ())
    named = [word for word in proposed[1:] if not word.startswith("-")]
    if proposed and words[: len(proposed)] == proposed and (named or not RUNNERS.fullmatch(Path(proposed[0]).name)):
        return tuple(proposed)
    return tuple(words) if len(words) <= MAX_AMENDMENT_WORDS else None


def is_allowed(line: str, prefixes: Sequence[Sequence[str]]) -> bool:
    """Return whether every command of the line begins with an allowed prefix or is harmless."""
    commands = split(line)
    return commands is not None and all(
        words[0] in HARMLESS or any(words[: len(prefix)] == list(prefix) for prefix in prefixes if prefix)
        for words in commands
    )


def actions(line: str, cwd: Path) -> list[CommandAction]:
    """Return `commandActions` (PROTOCOL 3.3): what the line reads, lists and searches.

    It is a single `unknown` when the line does anything else.
    """
    found: list[CommandAction] = []
    for words in split(line) or []:
        action = _action(words, cwd)
        if action is not None:
            found.append(action)
        elif words[0] == "cd" and len(words) == 2:
            cwd = cwd / words[1]
        elif words[0] not in ("echo", "true") and not (found and words[0] in FILTERS and not _operands(words)):
            return [{"type": "unknown", "command": line}]
    return found or [{"type": "unknown", "command": line}]


def _double_quoted(line: str, position: int) -> tuple[str, int] | None:
    text: list[str] = []
    while position < len(line):
        char = line[position]
        if char == '"':
            return "".join(text), position + 1
        if char in "$`":
            return None
        if char == "\\" and line[position + 1 : position + 2] in ("\\", '"', "$", "`"):
            position += 1
            char = line[position]
        text.append(char)
        position += 1
    return None


def _operands(words: list[str]) -> list[str]:
    """Return the words that are neither options nor values of options."""
    with_value = OPTIONS_WITH_VALUE.get(words[0], "")
    found: list[str] = []
    skip = False
    for index, word in enumerate(words[1:], 1):
        if skip:
            skip = False
        elif word == "--":
            return found + words[index + 1 :]
        elif word.startswith("-") and word != "-":
            skip = len(word) == 2 and word[1] in with_value
        else:
            found.append(word)
    return found


def _read(words: list[str], cwd: Path) -> CommandAction | None:
    files = _operands(words)
    if len(files) != 1 or files[0] == "-":
        return None
    path = cwd / files[0]
    return {"type": "read", "command": shlex.join(words), "name": path.name, "path": str(path)}


def _sed(words: list[str], cwd: Path) -> CommandAction | None:
    if len(words) == 4 and words[1] == "-n" and words[2].endswith("p") and words[2][:-1].replace(",", "").isdigit():
        path = cwd / words[3]
        return {"type": "read", "command": shlex.join(words), "name": path.name, "path": str(path)}
    return None


def _list(words: list[str], cwd: Path) -> CommandAction | None:
    folders = _operands(words)
    path = folders[0] if folders else None
    return {"type": "listFiles", "command": shlex.join(words), "path": path}


def _find(words: list[str], cwd: Path) -> CommandAction | None:
    if any(word.startswith(("-exec", "-ok", "-delete", "-fprint", "-fls")) for word in words):
        return None
    path = words[1] if len(words) > 1 and not words[1].startswith("-") else None
    for option in ("-name", "-iname", "-path"):
        if option in words[:-1]:
            query = words[words.index(option) + 1]
            return {"type": "search", "command": shlex.join(words), "query": query, "path": path}
    return {"type": "listFiles", "command": shlex.join(words), "path": path}


def _search(words: list[str], cwd: Path) -> CommandAction | None:
    operands = _operands(words)
    if words[0] == "rg" and "--files" in words:
        return {"type": "listFiles", "command": shlex.join(words), "path": operands[0] if operands else None}
    if "-e" in words[:-1]:
        operands.insert(0, words[words.index("-e") + 1])
    if not operands:
        return None
    path = operands[1] if len(operands) > 1 else None
    return {"type": "search", "command": shlex.join(words), "query": operands[0], "path": path}


ACTIONS: dict[str, Callable[[list[str], Path], CommandAction | None]] = {
    "cat": _read,
    "head": _read,
    "tail": _read,
    "nl": _read,
    "sed": _sed,
    "ls": _list,
    "tree": _list,
    "find": _find,
    "rg": _search,
    "grep": _search,
}


def _action(words: list[str], cwd: Path) -> CommandAction | None:
    if words[:2] == ["git", "grep"]:
        found = _search(["grep", *words[2:]], cwd)
        return found and {**found, "command": shlex.join(words)}
    act = ACTIONS.get(words[0])
    return act(words, cwd) if act else None
