"""Hooks: programs of the operator or the user that run at events of a turn, in the thread's sandbox.

`program.py` runs one, `answers.py` reads what it says, `seen_calls.py` shows it a tool call. Which run, and what
becomes of their decisions, is in workers/agent/turn_hooks.py. Nothing here runs for a thread without hooks.
"""
