"""Hooks of the operator in turns of users with keys: what these users write and set does not reach them."""

from __future__ import annotations

from collections.abc import Callable

from shared.config import ShellEnvironment
from tests.support.turns import command
from tests.workers.agent.test_private_tmp import hosted_thread, tmp_path
from tests.workers.agent.test_turn import outputs
from tests.workers.agent.test_turn_hooks import settings
from tests.workers.builders import Bench

__all__ = ["tmp_path"]  # outside of /tmp, because these users have a /tmp of their own

POLICY = 'grep -q forbidden && { echo "policy from $PWD, of $OPERATOR" >&2; exit 2; }; exit 0'
PLANTED = """
echo exit 0 | tee $HOME/.bash_profile $HOME/.profile $HOME/.bashrc /tmp/env;
mkdir bin /tmp/bin; printf '#!/bin/sh\\nexit 1\\n' | tee bin/grep /tmp/bin/grep; chmod +x bin/grep /tmp/bin/grep
"""


def test_commands_of_a_user_with_a_key_cannot_switch_off_the_operators_hooks(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(
        hooks=settings({"PreToolUse": POLICY}), shell_environment_policy=ShellEnvironment(set={"OPERATOR": "ours"})
    )
    bench.run_turn(thread := hosted_thread(bench, "ann"), command(PLANTED))
    for variables in ({}, {"BASH_ENV": "/tmp/env", "HOME": "/tmp"}, {"PATH": "/tmp/bin:bin:/usr/bin:/bin"}):
        bench.workers[0].store.threads.change_settings(
            thread.id, "ann", {"shellEnvironmentPolicy": {"set": {**variables, "OPERATOR": "theirs"}}}
        )

        bench.run_turn(thread, "[[run echo forbidden]]")

        assert "exited with code 0" in outputs(bench)[0]
        assert "policy from /, of ours. Command: echo forbidden" in outputs(bench)[-1]
