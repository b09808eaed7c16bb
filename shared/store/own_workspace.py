"""The folder of a thread's own workspace, wherever the server that stored the thread had its workspaces.

Settings hold absolute paths, which earlier versions read, too. A path of the thread's own workspace is known by the
OWNER/THREAD in it: what stands before is replaced by the folder of workspaces of the server that reads. So a database
can move to another HOME, and servers whose folders have different paths can share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, and_, or_

from shared.protocol.settings import ThreadSettings
from shared.store.tables import threads

OPTION = "workspaces_dir"  # of a connection: this server's folder of workspaces, a string


def own_folder(owner: str, thread_id: str) -> str:
    """Return the end of the path of a thread's own workspace."""
    return f"/{owner}/{thread_id}"


def with_own_workspace(connection: Connection, owner: str, thread_id: str, settings: ThreadSettings) -> ThreadSettings:
    """Return stored settings with the paths of the thread's own workspace as they are on this server."""
    root: str | None = connection.get_execution_options().get(OPTION)
    own = own_folder(owner, thread_id)
    policy = cast(dict[str, Any], settings.get("sandboxPolicy") or {})
    roots = policy.get("writableRoots") or ()
    if root is None or not any(own in path for path in (settings["cwd"], *roots)):
        return settings
    moved: ThreadSettings = {**settings, "cwd": _moved(settings["cwd"], own, root)}
    if roots:
        changed = {**policy, "writableRoots": [_moved(path, own, root) for path in roots]}
        moved["sandboxPolicy"] = cast(Any, changed)
    return moved


def works_in(connection: Connection, owner: str, folders: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a thread works in one of the folders, as their paths are on this server."""
    root: str | None = connection.get_execution_options().get(OPTION)
    conditions: list[ColumnElement[bool]] = [threads.c.cwd.in_(folders)]
    for folder in folders:
        if root is not None and folder.startswith(f"{root}/{owner}/"):
            thread_id = folder.removeprefix(f"{root}/{owner}/").split("/")[0]
            below = folder.removeprefix(root)
            conditions.append(and_(threads.c.id == thread_id, threads.c.cwd.endswith(below, autoescape=True)))
    return or_(*conditions)


def _moved(path: str, own: str, root: str) -> str:
    _, found, below = path.partition(own)
    return f"{root}{own}{below}" if found and below[:1] in ("", "/") else path
