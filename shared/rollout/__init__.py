"""A thread ⇄ a Codex rollout file (PROTOCOL section 12), so that `codex resume` continues a thread of this server.

Owns the file format: `writer` and `reader` convert whole threads, `items` single items, `lines` describes the lines.
Files are written in history mode "paginated": every line has an ordinal, and what clients see stands in
`item_completed` lines beside the `response_item` lines that the model sees. Both history modes are read. May import
shared.store and shared.protocol.
"""

from __future__ import annotations

from shared.rollout.reader import read, turn_ids
from shared.rollout.writer import file_name, write

__all__ = ["file_name", "read", "turn_ids", "write"]
