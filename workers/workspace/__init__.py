"""Workspaces: which folders there are, and which paths of the host an owner may name.

folders.py  the folder of a thread: its path, quotas, environment for the model, git repository
instructions.py  AGENTS.md files: which count, and what the model reads of them
scope.py    WorkspaceScope: the paths that an owner may name, and how they are opened

Imports shared and workers.sandbox.
"""
