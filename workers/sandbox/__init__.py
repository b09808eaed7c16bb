"""The sandbox: commands and files of users, contained and within limits.

policy.py         what a thread may touch: one table of rules for commands, patches and reads
limits.py         how much of the host a command may use
bubblewrap.py     the command line of bubblewrap that enforces a policy
seccomp.py        the filter of system calls
command_spec.py   what is to run; process.py runs it, with command_input.py, command_output.py and output.py
sessions.py       the commands of a turn that run on after the call that started them
files.py          opens files of a workspace without being led out of it
thread_paths.py   looks at all paths that a policy depends on, in one request to the tool runner
runner.py         the connection to the tool runner, over channel.py with the messages of messages.py
event_thread.py   a thread that runs callbacks

Imports shared and workers.control. Knows nothing of models, tools or turns.
"""
