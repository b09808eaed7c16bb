"""What a thread may search and fetch of the web, and how often its user may."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from shared.config.web_search import WebSearchEndpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebAccess:
    """The web as one thread may see it.

    endpoint:        the operator's search engine, and the limits of pages
    opens_pages:     whether pages may be fetched; otherwise the search engine alone answers
    allowed_domains: hosts that results and pages may come from, with their subdomains; empty: all
    may_go_on:       counts a search or a page; False: the user has reached the limit of this minute
    """

    endpoint: WebSearchEndpoint
    opens_pages: bool
    allowed_domains: Sequence[str] = ()
    may_go_on: Callable[[], bool] = lambda: True

    def allows(self, url: str) -> bool:
        """Return whether results and pages may come from a URL: http or https, no user, an allowed domain."""
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").rstrip(".").lower()
            if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or parts.port == 0:
                return False
        except ValueError:  # such as a port that is not a number
            return False
        domains = [domain.strip(".").lower() for domain in self.allowed_domains]
        return not domains or any(host == domain or host.endswith(f".{domain}") for domain in domains)


def count(commands: redis.Redis, owner: str, per_minute: int) -> bool:
    """Count a search of a user in Redis. False: over the limit. While Redis is away nothing is limited."""
    if not per_minute:
        return True
    storage = RedisStorage(
        "redis://", connection_pool=commands.connection_pool, key_prefix="limits", wrap_exceptions=True
    )
    try:
        return FixedWindowRateLimiter(storage).hit(RateLimitItemPerMinute(per_minute), "web_search", owner)
    except StorageError as error:
        logger.warning("search of the web not counted: %s", error, extra={"user_id": owner})
        return True
