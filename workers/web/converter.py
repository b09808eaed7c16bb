"""HTML to Markdown, in a process of its own that ends with the page.

Hostile HTML makes a converter take any amount of memory (nested quotes with many lines: gigabytes for some kilobytes),
and an allocation that fails ends its process. So the process is not the worker, and has limits.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from shared.errors import ToolError

MEMORY_BYTES = 1 << 30
SECONDS = 10
MAX_CHARACTERS = 2_000_000  # of the Markdown; a model gets less
WAIT_SECONDS = 30.0  # for the pages of others
BOOT = "import sys, json; sys.path[:] = json.loads(sys.argv.pop()); from workers.web.converter import main; main()"

_converting = threading.Lock()  # so that all together take no more memory than one


def markdown(html: str, url: str) -> str:
    """Return HTML as Markdown, without images, scripts and what is hidden.

    url:    where its links start from
    Errors: ToolError (it cannot be converted within the limits)
    """
    path = json.dumps([str(Path(__file__).parents[2]), *sys.path])
    if not _converting.acquire(timeout=WAIT_SECONDS):
        raise ToolError(f"{url}: the server reads other pages now; try again later")
    try:
        ended = subprocess.run(
            [sys.executable, "-IS", "-c", BOOT, path],
            input=json.dumps([url, html]).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            env={},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{url}: this HTML takes too long to read") from None
    finally:
        _converting.release()
    if ended.returncode != 0:
        raise ToolError(f"{url}: this HTML cannot be read, or only with too much memory")
    return ended.stdout.decode("utf-8", "replace")


def main() -> None:
    """Convert the page of the standard input, [URL, HTML] as JSON: an argument would be seen by others."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import html_to_markdown

    url, html = json.loads(sys.stdin.buffer.read())
    options = html_to_markdown.ConversionOptions(skip_images=True, extract_metadata=False, base_url=url)
    try:
        found = html_to_markdown.convert(html, options).content or ""
    except html_to_markdown.ConversionError:
        sys.exit(1)
    sys.stdout.buffer.write(found[:MAX_CHARACTERS].encode("utf-8", "replace"))
