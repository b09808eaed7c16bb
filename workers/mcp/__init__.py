"""MCP servers: the programs and addresses whose tools models may call (docs/MCP.md).

`pool` decides which sessions a thread has and how long they live; `session` is one of them, `sandboxed_program` and
`guarded_http` carry its messages, `wire` takes them in, `offered_tools` and `results` translate between it and models.
Only `session` and what it imports know the SDK, and nothing imports these before a thread has a server: a worker whose
threads have none pays neither memory nor time for it.
"""

from __future__ import annotations

# The states of a session. FAILED: it could not be started; CLOSED: it has ended after it was ready.
STARTING, READY, FAILED, CLOSED = "starting", "ready", "failed", "closed"
