"""URLs of Redis, as THREADHOUSE_REDIS_URL takes them: one server, or the master that Sentinels name.

    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]…/MASTER[/DB]

HOST and PORT are those of the Sentinels, which have no password; USER and PASSWORD are those of the Redis servers.
"""

from __future__ import annotations

import re

_SINGLE = re.compile(r"(redis|rediss|unix)://")
SENTINELS = re.compile(
    r"redis\+sentinel://(?P<login>[^/@]*@)?(?P<hosts>[^/@,]+(?:,[^/@,]+)*)/(?P<master>[\w.-]+)(?:/(?P<db>\d+))?"
)


def is_redis_url(url: str) -> bool:
    return bool(_SINGLE.match(url) or SENTINELS.fullmatch(url))
