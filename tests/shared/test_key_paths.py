"""Key paths: quoted and bare segments."""

from __future__ import annotations

import pytest

from shared.errors import InvalidParams
from shared.key_paths import MAX_CHARACTERS, MAX_SEGMENTS, split_key_path, value_of


@pytest.mark.parametrize(
    ("key_path", "segments"),
    [
        ("model", ("model",)),
        ("tools.web_search.context_size", ("tools", "web_search", "context_size")),
        ('projects."/a/b.c".trust_level', ("projects", "/a/b.c", "trust_level")),
        ("projects.'C:\\a.b'.trust_level", ("projects", "C:\\a.b", "trust_level")),
        (r'projects."a\"b\u00e9".x', ("projects", 'a"bé', "x")),
        ("projects./srv/run.x", ("projects", "/srv/run", "x")),
        ('projects.""', ("projects", "")),
    ],
)
def test_quoted_segments_are_one_key(key_path: str, segments: tuple[str, ...]) -> None:
    assert split_key_path(key_path) == segments


@pytest.mark.parametrize(
    "key_path", ["", ".", "a.", "a..b", 'a."b', "a.'b", 'a."b"c', 'a."\\x"', "a\nb", 'a."b\n"', r'a."\u0000"']
)
def test_other_paths_are_refused(key_path: str) -> None:
    with pytest.raises(InvalidParams, match="keyPath"):
        split_key_path(key_path)


@pytest.mark.parametrize("key_path", ["a." * MAX_SEGMENTS + "b", "a" * (MAX_CHARACTERS + 1), "'a'." * 1_000_000])
def test_a_path_has_a_limit(key_path: str) -> None:
    with pytest.raises(InvalidParams, match="keyPath: more than"):
        split_key_path(key_path)


def test_keys_with_dots_are_merged_into_the_table_of_their_key() -> None:
    config = {
        "model": "m",
        "mcp_servers": {"a": {"command": "x", "args": ["1"], "env": {"A": "1", "B": "2"}}},
        "mcp_servers.a.args": ["2"],
        "mcp_servers.a.env": {"A": None, "C": "3"},
        """mcp_servers.'b.c'""": {"url": "https://h"},
        r"""mcp_servers."b\u002ec".enabled""": False,
    }

    assert value_of(config, "mcp_servers") == {
        "a": {"command": "x", "args": ["2"], "env": {"B": "2", "C": "3"}},
        "b.c": {"url": "https://h", "enabled": False},
    }
    assert config["mcp_servers"] == {"a": {"command": "x", "args": ["1"], "env": {"A": "1", "B": "2"}}}
    assert value_of(config, "tools") is None
