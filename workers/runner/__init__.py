"""The tool runner: a process without credentials that runs commands and opens files for workers.

server.py      the process: connections of workers, operations, start and stop
command.py     one command on behalf of a worker; launch.py starts it, processes.py finds its processes
cgroups.py     a control group for each command, where the host allows it
memory.py      what a command uses of it
watchdog.py    ends commands that exceed limits which the kernel does not enforce
placeholders.py  hold the place of a missing `.git`
hardening.py   protects a process from inspection
host.py        facts about the host, for `threadhouse doctor`

Imports workers.sandbox and shared.errors, and never configuration, database or Redis: an attacker who breaks out of a
sandbox lands in this process.
"""
