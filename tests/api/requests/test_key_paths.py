"""Key paths: quoted and bare segments."""

from __future__ import annotations

import pytest

from api.requests.key_paths import split_key_path
from shared.errors import InvalidParams


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


@pytest.mark.parametrize("key_path", ["", ".", "a.", "a..b", 'a."b', "a.'b", 'a."b"c', 'a."\\x"', "a\nb", 'a."b\n"'])
def test_other_paths_are_refused(key_path: str) -> None:
    with pytest.raises(InvalidParams, match="keyPath"):
        split_key_path(key_path)
