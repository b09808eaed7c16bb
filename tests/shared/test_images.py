"""Images that may enter a history, and those that model APIs refuse."""

from __future__ import annotations

from typing import Any

import pytest

from shared import images
from shared.errors import InvalidImage, InvalidRequest
from tests.support.images import GIF, PNG, REFUSED_URLS, WEBP, WHOLE, data_url, png, png_of_size


@pytest.mark.parametrize(("media_type", "data"), WHOLE.items(), ids=WHOLE)
def test_media_type_of_a_whole_image_comes_from_its_content(media_type: str, data: bytes) -> None:
    assert images.checked_url(data_url(data, "image/bmp")) == data_url(data, media_type)
    assert images.data_url(data) == data_url(data, media_type)


@pytest.mark.parametrize("url", [*REFUSED_URLS.values(), "https://example.com/a.png", None, 7])
def test_url_that_no_model_accepts_is_refused(url: Any) -> None:
    with pytest.raises(InvalidImage):
        images.checked_url(url)


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_image_is_refused_wherever_it_was_cut_off(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(InvalidImage):
            images.media_type(data[:length])


@pytest.mark.parametrize("data", [GIF[:13], WEBP[:-1], WEBP[:20]])
def test_gif_without_an_image_and_short_webp_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        images.media_type(data)


def test_png_with_a_changed_byte_is_refused() -> None:
    for at in range(len(PNG)):
        with pytest.raises(InvalidImage):
            images.media_type(PNG[:at] + bytes([PNG[at] ^ 1]) + PNG[at + 1 :])


@pytest.mark.parametrize(
    "data",
    [
        png_of_size(0, 1),
        png_of_size(1, 0),
        png_of_size(images.MAX_SIDE_PIXELS + 1, 1),
        png_of_size(images.MAX_SIDE_PIXELS, images.MAX_SIDE_PIXELS),
        png(depth=5),
        png(filler=images.MAX_IMAGE_BYTES),
        b"\x89PNG\r\n\x1a\n" + png()[33:],
        b"\xff\xd8" + b"\xff" * 200_000,
    ],
    ids=[
        "no width",
        "no height",
        "too wide",
        "too many pixels",
        "depth",
        "too many bytes",
        "no header",
        "only filling",
    ],
)
def test_image_of_an_impossible_frame_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        images.media_type(data)


def test_only_images_that_are_refused_are_replaced() -> None:
    good = {"type": "input_image", "image_url": data_url(PNG), "detail": "high"}
    text = {"type": "input_text", "text": "hi"}
    bad = {"type": "input_image", "image_url": "https://example.com/a.png"}

    found = images.replace_refused({"type": "message", "content": [text, good, bad], "output": "x"})

    assert found["content"][:2] == [text, good]
    assert found["content"][2]["type"] == "input_text"
    assert "remote image URLs are not supported" in found["content"][2]["text"]
    assert found["output"] == "x"


@pytest.mark.parametrize("url", ["http://example.com/a.png", "HTTPS://example.com/a.png"])
def test_url_of_an_image_elsewhere_is_refused_with_the_originals_words(url: str) -> None:
    with pytest.raises(InvalidRequest, match="remote image URLs are not supported; use an inline data URL instead"):
        images.refuse_remote(url)
