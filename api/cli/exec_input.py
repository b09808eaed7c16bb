"""What `threadhouse exec` sends to a turn: the prompt, images and an output schema, from arguments, stdin and files."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from api.cli.output import Output
from shared.errors import InvalidRequest
from shared.protocol.user_input import ImageInput

STDIN = "-"
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def read_prompt(given: str | None, err: Output) -> str:
    """Return the prompt: the argument, with piped text appended as a `<stdin>` block; without one, the text of stdin.

    err:    where it says that it waits for stdin
    Errors: InvalidRequest (no prompt, or no text)
    """
    is_piped = not sys.stdin.isatty()
    if given is None or given == STDIN:
        if given is None and not is_piped:
            raise InvalidRequest("no prompt: give it as an argument, or pipe it into stdin")
        err.write("Reading prompt from stdin...")
        prompt = _read_stdin()
        if not prompt.strip():
            raise InvalidRequest("no prompt came from stdin: give it as an argument, or pipe a text into stdin")
        return prompt
    # Python keeps bytes of an argument that the locale cannot decode as lone surrogates.
    prompt = given.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if not is_piped:
        return prompt
    err.write("Reading additional input from stdin...")
    text = _read_stdin()
    if not text.strip():
        return prompt
    end = "" if text.endswith("\n") else "\n"
    return f"{prompt}\n\n<stdin>\n{text}{end}</stdin>"


def read_schema(file: Path) -> dict[str, object]:
    """Return the JSON Schema in a file. Errors: InvalidRequest (no file, no JSON, no object)."""
    try:
        schema = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"--output-schema {file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidRequest(f"--output-schema {file}: not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise InvalidRequest(f'--output-schema {file}: a JSON Schema is an object, like {{"type": "object", …}}')
    return schema


def read_images(names: Iterable[str]) -> list[ImageInput]:
    """Return the image files as parts of an input. Each name may be a list of names with commas between them.

    Errors: InvalidRequest (no file, or no image that a model accepts)
    """
    from shared import images
    from shared.errors import InvalidImage

    parts: list[ImageInput] = []
    for name in (name for names_ in names for name in names_.split(",")):
        try:
            parts.append({"type": "image", "url": images.data_url(Path(name).read_bytes())})
        except OSError as error:
            raise InvalidRequest(f"--image {name}: cannot be read: {error.strerror}") from None
        except InvalidImage as error:
            raise InvalidRequest(f"--image {name}: {error}") from None
    return parts


def _read_stdin() -> str:
    """Return stdin as text: UTF-8, or UTF-16 with a byte order mark, whatever the locale. Errors: InvalidRequest."""
    data = sys.stdin.buffer.read()
    mark, encoding = next(((mark, name) for mark, name in BOMS if data.startswith(mark)), (b"", "utf-8"))
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"stdin is not {encoding.upper()} (byte {error.start}): convert it, for example with "
            "`iconv -f LATIN1 -t UTF-8`"
        ) from None
