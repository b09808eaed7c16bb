"""Sources of workspaces: makes a thread's workspace from a git repository, an archive, or another workspace.

workspace_maker.py  makes it in a temporary folder and moves it to its path when it is complete
git.py              fetches a repository on the worker, with the operator's credential; runs nothing of it
archive.py          repacks an uploaded archive as a safe tar
scripts.py          shell scripts that run in the sandbox

Imports the store, workers.sandbox, workers.workspace and workers.control.
"""
