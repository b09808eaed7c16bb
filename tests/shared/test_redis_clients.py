"""The forms of THREADHOUSE_REDIS_URL: what clients and Celery make of them."""

from __future__ import annotations

import pytest

from shared.config.redis_url import is_redis_url
from shared.redis_clients import broker, connect

SENTINELS = "redis+sentinel://ann:p%40ss@s1:7000,s2/main/3"


@pytest.mark.parametrize(
    "url", ["redis://r/0", "rediss://r:1", "unix:///run/r.sock", SENTINELS, "redis+sentinel://s/m"]
)
def test_urls_of_servers_and_sentinels_are_accepted(url: str) -> None:
    assert is_redis_url(url)


@pytest.mark.parametrize(
    "url", ["http://r", "redis+sentinel://", "redis+sentinel://s1,s2", "redis+sentinel:///m", "redis+sentinel://s/m/x"]
)
def test_a_url_without_sentinels_or_the_name_of_their_master_is_refused(url: str) -> None:
    assert not is_redis_url(url)


def test_a_client_asks_each_sentinel_for_the_master_and_logs_in_there() -> None:
    pool = connect(SENTINELS, socket_timeout=4).connection_pool

    asked = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["socket_timeout"]) for one in asked] == [("s1", 7000, 1), ("s2", 26379, 1)]
    assert pool.service_name == "main"
    login = {name: pool.connection_kwargs[name] for name in ("db", "username", "password", "socket_timeout")}
    assert login == {"db": 3, "username": "ann", "password": "p@ss", "socket_timeout": 4}


def test_celery_gets_the_same_master_whichever_sentinel_it_asks() -> None:
    url, options = broker(SENTINELS)

    assert url == "sentinel://ann:p%40ss@s1:7000/3;sentinel://ann:p%40ss@s2:26379/3"
    assert options["master_name"] == "main"
    assert broker("redis://r/0") == ("redis://r/0", {})
