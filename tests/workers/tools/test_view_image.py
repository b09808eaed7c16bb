"""view_image: only real images, and only those that the thread may see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import ToolError
from shared.images import MAX_IMAGE_BYTES
from tests.support.images import JPEG, PNG, WHOLE, data_url, png
from tests.workers.tools.context import make_call, make_context
from workers.tools import view_image
from workers.tools.base import ToolContext, ToolResult


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "project"
    folder.mkdir()
    return folder


def view(ctx: ToolContext, path: object) -> ToolResult:
    return view_image.run(view_image.prepare(make_call("view_image", json.dumps({"path": path})), ctx), ctx)


@pytest.mark.parametrize(("media_type", "data"), WHOLE.items(), ids=WHOLE)
def test_media_type_comes_from_the_content(cwd: Path, media_type: str, data: bytes) -> None:
    (cwd / "picture.bin").write_bytes(data)

    outcome = view(make_context(cwd, "readOnly"), "picture.bin")

    assert outcome.output == [{"type": "input_image", "image_url": data_url(data, media_type)}]
    assert outcome.item == {"type": "imageView", "path": str(cwd / "picture.bin")}


def test_absolute_path_is_accepted(cwd: Path) -> None:
    (cwd / "p.png").write_bytes(PNG)

    assert view(make_context(cwd), str(cwd / "p.png")).item == {"type": "imageView", "path": str(cwd / "p.png")}


REFUSED = {
    "no picture": "text.png",
    "missing": "missing.png",
    "folder": "folder",
    "too big": "big.png",
    "leads out": "link.png",
    "out through a linked folder": "out/p.png",
    "parent": "../outside/p.png",
    "no text": 7,
    "empty": "",
    "NUL": "p\0.png",
    "empty file": "empty.png",
    "half a PNG": "half.png",
    "half a JPEG": "half.jpg",
}


@pytest.mark.parametrize("path", REFUSED.values(), ids=REFUSED)
def test_anything_but_an_image_is_refused(cwd: Path, tmp_path: Path, path: object) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "p.png").write_bytes(PNG)
    (cwd / "text.png").write_text("not a picture")
    (cwd / "folder").mkdir()
    (cwd / "big.png").write_bytes(png(filler=MAX_IMAGE_BYTES))
    (cwd / "empty.png").touch()
    (cwd / "half.png").write_bytes(PNG[: len(PNG) // 2])
    (cwd / "half.jpg").write_bytes(JPEG[: len(JPEG) // 2])
    (cwd / "link.png").symlink_to(tmp_path / "outside" / "p.png")
    (cwd / "out").symlink_to(tmp_path / "outside")

    with pytest.raises(ToolError):
        view(make_context(cwd, workspace=cwd), path)


def test_image_of_another_thread_is_refused(cwd: Path, tmp_path: Path) -> None:
    other = tmp_path.resolve() / "p.png"
    other.write_bytes(PNG)

    with pytest.raises(ToolError, match="this thread may not see that path"):
        view(make_context(cwd, workspace=cwd), str(other))
