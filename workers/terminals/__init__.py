"""Background terminals: the commands that run on after their turn (shared.store.terminals).

running.py  those of this worker process: holds them, publishes their output, stores their end
remote.py   how a turn reaches those of its thread, in whichever process they run

May import the journal, the sandbox, and the agent's writer; the agent and the tools know only what tools.base says.
"""
