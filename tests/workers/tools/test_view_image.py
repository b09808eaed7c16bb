"""view_image: real pictures only, and only those that the thread may see."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from shared.errors import ToolError
from tests.workers.tools.context import make_call, make_context
from workers.tools import view_image
from workers.tools.base import Outcome, ToolContext
from workers.tools.view_image import MAX_IMAGE_BYTES

PNG = b"\x89PNG\r\n\x1a\nrest"


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "project"
    folder.mkdir()
    return folder


def view(ctx: ToolContext, path: object) -> Outcome:
    return view_image.run(view_image.plan(make_call("view_image", json.dumps({"path": path})), ctx), ctx)


KINDS = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0rest",
    "image/gif": b"GIF89arest",
    "image/webp": b"RIFF\x10\0\0\0WEBPrest",
}


@pytest.mark.parametrize(("media_type", "data"), KINDS.items(), ids=KINDS)
def test_a_picture_is_shown_to_the_model_by_what_it_is(cwd: Path, media_type: str, data: bytes) -> None:
    (cwd / "picture.bin").write_bytes(data)

    outcome = view(make_context(cwd, "readOnly"), "picture.bin")

    url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    assert outcome.output == [{"type": "input_image", "image_url": url}]
    assert outcome.item == {"type": "imageView", "path": str(cwd / "picture.bin")}


def test_an_absolute_path_works(cwd: Path) -> None:
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
}


@pytest.mark.parametrize("path", REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused(cwd: Path, tmp_path: Path, path: object) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "p.png").write_bytes(PNG)
    (cwd / "text.png").write_text("not a picture")
    (cwd / "folder").mkdir()
    (cwd / "big.png").write_bytes(PNG + bytes(MAX_IMAGE_BYTES))
    (cwd / "link.png").symlink_to(tmp_path / "outside" / "p.png")
    (cwd / "out").symlink_to(tmp_path / "outside")

    with pytest.raises(ToolError):
        view(make_context(cwd, workspace=cwd), path)


def test_another_threads_picture_is_refused(cwd: Path, tmp_path: Path) -> None:
    other = tmp_path.resolve() / "p.png"
    other.write_bytes(PNG)

    with pytest.raises(ToolError, match="outside of what this thread may see"):
        view(make_context(cwd, workspace=cwd), str(other))
