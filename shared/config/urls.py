"""URLs in settings."""

from __future__ import annotations

from urllib.parse import urlsplit

EXPECTED = "an http:// or https:// URL"
PORTS = {"http": 80, "https": 443}


def is_http_url(url: str, *, with_user: bool = False) -> bool:
    """Return whether requests can be sent to a URL, which every parser of URLs reads alike.

    with_user: whether it may name a user and a password
    """
    try:
        parts = urlsplit(url)
        plain = url.isascii() and url.isprintable() and not {" ", "\\"} & set(url)
        allowed = plain and (with_user or "@" not in parts.netloc)
        return allowed and parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # such as a port that is not a number
        return False


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL for which `is_http_url` is true."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme]
