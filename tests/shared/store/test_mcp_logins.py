"""Logins at MCP servers: one per user and address, and a change of one that another process has made is not undone."""

from __future__ import annotations

from shared.store import Store

URL, OTHER = "https://a.example/mcp", "https://b.example/mcp"


def test_each_user_has_a_login_of_their_own_at_each_server(store: Store) -> None:
    logins = store.mcp_logins
    logins.put("ann", URL, "1")
    logins.put("bob", URL, "2")
    logins.put("ann", URL, "3")

    assert (logins.find("ann", URL), logins.find("bob", URL), logins.find("ann", OTHER)) == ("3", "2", None)
    assert logins.servers("ann", [URL, OTHER]) == {URL}
    assert logins.servers("eve", [URL, OTHER]) == set()

    assert logins.remove("ann", URL)
    assert not logins.remove("ann", URL)
    assert (logins.find("ann", URL), logins.find("bob", URL)) == (None, "2")


def test_a_login_is_replaced_only_where_nobody_else_did(store: Store) -> None:
    logins = store.mcp_logins
    logins.put("ann", URL, "1")

    assert logins.replace("ann", URL, "1", "2")
    assert not logins.replace("ann", URL, "1", "3")
    assert not logins.replace("bob", URL, "2", "3")
    assert logins.find("ann", URL) == "2"
