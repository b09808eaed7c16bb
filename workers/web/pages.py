"""Pages of the web as text. All of it is hostile input: addresses, redirects, sizes, encodings, HTML."""

from __future__ import annotations

import codecs
import re
import time
import zlib
from dataclasses import dataclass
from urllib.parse import quote, urldefrag, urljoin, urlsplit, urlunsplit

from shared import guarded_http
from shared.errors import AddressRefused, ToolError, Unavailable
from shared.guarded_http import Cutter, Response
from workers.web.access import WebAccess
from workers.web.converter import markdown

MAX_REDIRECTS = 5
MAX_URL_CHARACTERS = 2000
HEADERS = {
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,text/*;q=0.8,application/json;q=0.8,*/*;q=0.1",
    "Accept-Encoding": "gzip, deflate",
}
HTML = ("text/html", "application/xhtml+xml")
TEXT = re.compile(r"text/.+|application/(.+\+)?(json|xml)|application/(javascript|yaml|toml|x-ndjson)")
CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([\w-]{1,20})""", re.IGNORECASE)
# Codecs of Python that a page may name: others of them are slow, or make no text.
CODECS = re.compile(
    r"utf-?8|us-ascii|ascii|latin-?1|iso-?8859-\d{1,2}|(windows-|cp)125\d|gb2312|gbk|gb18030|big5|euc-(jp|kr)"
    r"|shift[_-]jis|koi8-[ru]|utf-16(le|be)?"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page as text. url: after redirects; is_cut: the page is longer than what was read."""

    url: str
    text: str
    is_cut: bool


def fetch(url: str, access: WebAccess, cutter: Cutter) -> Page:
    """Fetch a page and return its text, HTML as Markdown. Errors: ToolError, which says what is wrong with the page."""
    endpoint = access.endpoint
    deadline = time.monotonic() + endpoint.timeout_seconds
    for _ in range(MAX_REDIRECTS + 1):
        url = _checked(url, access)
        response = _get(url, access, deadline, cutter)
        location = response.headers.get("Location")
        if response.status not in (301, 302, 303, 307, 308) or not location:
            break
        url = _target(url, location)
    else:
        raise ToolError(f"{url}: more than {MAX_REDIRECTS} redirects")
    if not 200 <= response.status < 300:
        raise ToolError(f"{url}: the server answered {response.status}")
    text, is_cut = _text(url, response, endpoint.page_bytes)
    return Page(url, text, is_cut or response.is_cut)


def _target(url: str, location: str) -> str:
    """Return where a redirect leads. Errors: ToolError (to no URL)."""
    try:
        return urljoin(url, location.encode("latin-1", "replace").decode("utf-8", "replace"))
    except ValueError:
        raise ToolError(f"{url}: it redirects to what is no URL") from None


def _checked(url: str, access: WebAccess) -> str:
    """Return a URL as it can be sent. Errors: ToolError (one that this thread may not open)."""
    if len(url) > MAX_URL_CHARACTERS:
        raise ToolError(f"the URL has more than {MAX_URL_CHARACTERS} characters")
    if not access.allows(url):
        allowed = ", ".join(access.allowed_domains)
        only = f" of {allowed}" if allowed else ""
        raise ToolError(f"{url}: expected an http:// or https:// URL{only}, without a user")
    parts = urlsplit(urldefrag(url).url)
    try:
        netloc = parts.netloc.encode("idna").decode() if not parts.netloc.isascii() else parts.netloc
    except UnicodeError:
        raise ToolError(f"{url}: this host cannot exist") from None
    safe = "%/:?#[]@!$&'()*+,;=~"
    path, query = quote(parts.path, safe=safe), quote(parts.query, safe=safe)
    return urlunsplit(parts._replace(netloc=netloc, path=path, query=query))


def _get(url: str, access: WebAccess, deadline: float, cutter: Cutter) -> Response:
    endpoint = access.endpoint
    try:
        return guarded_http.send(
            "GET",
            url,
            HEADERS,
            deadline=deadline,
            max_bytes=endpoint.page_bytes,
            allowed=endpoint.private_hosts,
            cutter=cutter,
        )
    except (AddressRefused, Unavailable) as error:
        raise ToolError(f"{url}: {error}") from None
    except guarded_http.FAILURES as error:
        if cutter.is_cut:
            raise ToolError("the turn was stopped before the page arrived") from None
        if time.monotonic() >= deadline:
            raise ToolError(f"{url}: not there within {endpoint.timeout_seconds:g} s") from None
        raise ToolError(f"{url}: {str(error) or type(error).__name__}") from None


def _text(url: str, response: Response, max_bytes: int) -> tuple[str, bool]:
    """Return (text, whether it was cut). Errors: ToolError (no text)."""
    kind = response.headers.get_content_type()
    if not TEXT.fullmatch(kind) and kind not in HTML:
        raise ToolError(f"{url}: this is {kind[:80]}, which cannot be read as text")
    body, is_cut = _unpacked(url, response, max_bytes)
    declared = response.headers.get_content_charset()
    if declared is None and kind in HTML and (found := CHARSET.search(body[:4096])):
        declared = found[1].decode("ascii", "replace")
    text = body.decode(_codec(declared), "replace").replace("\0", "\ufffd")
    return (markdown(text, url) if kind in HTML else text), is_cut


def _codec(declared: str | None) -> str:
    """Return the codec that a page declares, if it may be used."""
    if declared is not None and CODECS.fullmatch(declared.lower()):
        try:
            return codecs.lookup(declared).name
        except LookupError:
            pass
    return "utf-8"


def _unpacked(url: str, response: Response, max_bytes: int) -> tuple[bytes, bool]:
    """Return (body, whether it was cut); of a body that unpacks to very much, the beginning. Errors: ToolError."""
    encoding = (response.headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding == "identity":
        return response.body, False
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ToolError(f"{url}: the page is packed as {encoding[:40]}, which was not asked for")
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        body = unpacking.decompress(response.body, max_bytes)
    except zlib.error:
        raise ToolError(f"{url}: the page cannot be unpacked") from None
    return body, bool(unpacking.unconsumed_tail)
