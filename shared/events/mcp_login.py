"""What API processes and the worker that runs a login at an MCP server agree on.

The login is a worker call (shared.events.worker_calls) that lasts until the user's browser has come back to an API
process, which may be another one than that of the call: it finds the call in Redis by the state in the browser's query.
"""

from __future__ import annotations

import hashlib

CALLBACK = "callback"  # message to the call: the query with which the browser came back
CALLBACK_PATH = "/oauth/callback"
MAX_SECONDS = 900.0  # that a user has to log in


def login_key(state: str) -> str:
    """Return the Redis key that leads from a state to the call of its login. The state itself is not stored there."""
    return f"mcp-login:{hashlib.sha256(state.encode()).hexdigest()}"


def renewal_key(owner: str, server_url: str) -> str:
    """Return the name of the lock under which the tokens of a login are renewed."""
    return f"mcp-renewal:{hashlib.sha256(f'{owner} {server_url}'.encode()).hexdigest()}"
