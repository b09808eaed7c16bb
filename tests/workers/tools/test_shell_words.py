"""What is recognized in a shell command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workers.tools import shell_words

CWD = Path("/home/user/project")


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("ls -la 'my folder'", [["ls", "-la", "my folder"]]),
        ('echo "a;b" c\\ d', [["echo", "a;b", "c d"]]),
        ("cd src && make; ls | wc -l\npwd", [["cd", "src"], ["make"], ["ls"], ["wc", "-l"], ["pwd"]]),
        ("git commit -m ''", [["git", "commit", "-m", ""]]),
        ('grep "a\\"b" c', [["grep", 'a"b', "c"]]),
        ("echo a#b", [["echo", "a#b"]]),
    ],
)
def test_plain_commands_are_split_into_words(line: str, commands: list[list[str]]) -> None:
    assert shell_words.split(line) == commands


@pytest.mark.parametrize(
    "line",
    [
        "echo $HOME",
        "echo `id`",
        'echo "$(id)"',
        "echo hi > file",
        "cat < file",
        "(ls)",
        "sleep 5 &",
        "ls |& cat",
        "for i in 1; do ls; done",
        "PATH=/evil ls",
        "{ ls; }",
        "ls 'unclosed",
        'ls "unclosed',
        "ls # comment",
        "cat ~/secret",
        "ls \\",
        "",
        " ; ",
    ],
)
def test_line_with_shell_syntax_is_not_split(line: str) -> None:
    assert shell_words.split(line) is None
    assert not shell_words.is_allowed(line, [["ls"], ["echo"], ["cat"], ["sleep"]])
    assert shell_words.amendment(line, ["ls"]) is None


@pytest.mark.parametrize(
    ("line", "prefix_rule", "amendment"),
    [
        ("touch made; echo done", None, ("touch", "made")),
        ("npm test -- --watch", ["npm", "test"], ("npm", "test")),
        ("npm test", ["yarn"], ("npm", "test")),
        ("touch a && rm b", None, None),
        ("python3 setup.py", ["python3"], ("python3", "setup.py")),
        ("bash -c ls", ["bash", "-c"], ("bash", "-c", "ls")),
        ("git push", ["git"], ("git", "push")),
        ("git push origin", ["git", "push"], ("git", "push")),
        ("cargo build", ["cargo"], ("cargo",)),
        ("echo done", None, None),
        ("tool " + "word " * 16, None, None),
    ],
)
def test_proposed_rule_allows_this_line_but_not_everything(
    line: str, prefix_rule: list[str] | None, amendment: tuple[str, ...] | None
) -> None:
    assert shell_words.amendment(line, prefix_rule) == amendment
    assert amendment is None or shell_words.is_allowed(line, [amendment])


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("npm test", True),
        ("npm test --watch && echo done", True),
        ("npm install", False),
        ("npm", False),
        ("npm test; rm -rf /", False),
        ("npm test | sh", False),
        ("npm test\nrm x", False),
        ("npm 'test; rm'", False),
    ],
)
def test_rule_allows_lines_whose_commands_all_begin_with_it(line: str, allowed: bool) -> None:
    assert shell_words.is_allowed(line, [["npm", "test"]]) is allowed


def read(command: str, path: str) -> dict[str, Any]:
    return {"type": "read", "command": command, "name": Path(path).name, "path": path}


def search(command: str, query: str, path: str | None) -> dict[str, Any]:
    return {"type": "search", "command": command, "query": query, "path": path}


def listed(command: str, path: str | None) -> dict[str, Any]:
    return {"type": "listFiles", "command": command, "path": path}


@pytest.mark.parametrize(
    ("line", "actions"),
    [
        ("ls", [listed("ls", None)]),
        ("ls -la src", [listed("ls -la src", "src")]),
        ("rg --files src", [listed("rg --files src", "src")]),
        ("find . -type f", [listed("find . -type f", ".")]),
        ("find src -name '*.py'", [search("find src -name '*.py'", "*.py", "src")]),
        ("cat src/a.py", [read("cat src/a.py", "/home/user/project/src/a.py")]),
        ("head -n 20 /etc/hosts", [read("head -n 20 /etc/hosts", "/etc/hosts")]),
        ("tail -20 a", [read("tail -20 a", "/home/user/project/a")]),
        ("nl -ba a", [read("nl -ba a", "/home/user/project/a")]),
        ("sed -n 1,200p a", [read("sed -n 1,200p a", "/home/user/project/a")]),
        ("cd src && cat a", [read("cat a", "/home/user/project/src/a")]),
        ("cat a | head -n 5", [read("cat a", "/home/user/project/a")]),
        ("rg -n 'foo bar' src", [search("rg -n 'foo bar' src", "foo bar", "src")]),
        ("grep -rn -e foo .", [search("grep -rn -e foo .", "foo", ".")]),
        ("git grep -n foo", [search("git grep -n foo", "foo", None)]),
        ("ls; cat a", [listed("ls", None), read("cat a", "/home/user/project/a")]),
    ],
)
def test_reading_listing_and_searching_are_recognized(line: str, actions: list[dict[str, Any]]) -> None:
    assert shell_words.actions(line, CWD) == actions


@pytest.mark.parametrize(
    "line",
    [
        "echo hello; echo err >&2; exit 3",
        "cat /etc/hostname && touch /home/user/project/x",
        "cat /etc/hostname; touch inside.txt",
        "python3 --version",
        "sleep 30",
        "echo hi",
        "cat",
        "cat a b",
        "find . -delete",
        "sed -i s/a/b/ file",
        "wc -l",
    ],
)
def test_any_other_command_makes_the_whole_line_unknown(line: str) -> None:
    assert shell_words.actions(line, CWD) == [{"type": "unknown", "command": line}]
