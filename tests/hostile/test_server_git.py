"""The server's own git runs nothing that a tenant has planted in her repository."""

from __future__ import annotations

import base64

import pytest

from tests.hostile.conftest import Tenants
from tests.support.turns import command, run_turn

# The planted program writes to the standard output of all processes that it sees: one of them is what a client gets.
EVIL = '#!/bin/sh\\nfor out in /proc/[0-9]*/fd/1; do echo PLAN""TED > $out; done 2>/dev/null\\n'
IDENTITY = "-c user.name=eve -c user.email=eve@localhost"
REPOSITORY = (
    f"printf '{EVIL}' > evil; chmod +x evil; git init -q; echo one > file; git add file; "
    f"git {IDENTITY} commit -q -m first; git update-ref refs/remotes/origin/main HEAD; echo two > file; "
)
SETTINGS = {
    "fsmonitor": "git config core.fsmonitor $PWD/evil",
    "hooks": "for name in post-index-change pre-auto-gc post-checkout reference-transaction; do "
    "mkdir -p .git/hooks; cp evil .git/hooks/$name; done",
    "hooks elsewhere": "mkdir h; cp evil h/post-index-change; cp evil h/reference-transaction; "
    "git config core.hooksPath $PWD/h",
    "an external diff": "git config diff.external $PWD/evil",
    "a text conversion": "git config diff.x.textconv $PWD/evil; echo '* diff=x' > .gitattributes",
    "a diff command": "git config diff.x.command $PWD/evil; echo '* diff=x' > .gitattributes",
    "a pager": "git config core.pager $PWD/evil; git config pager.diff $PWD/evil; git config pager.ls-files $PWD/evil",
    "an included file": "git config -f more core.fsmonitor $PWD/evil; git config include.path ../more",
    "a remote with a helper": "git config protocol.allow always; git config remote.origin.url ext::$PWD/evil; "
    "git config remote.origin.promisor true; git config extensions.partialClone origin; git config core.sshCommand "
    "$PWD/evil; rm -rf .git/objects/$(git rev-parse origin/main:file | cut -c1-2)",
    "a submodule": f"git init -q below; cd below; git {IDENTITY} commit -q --allow-empty -m x; cd ..; git add below "
    f"2>/dev/null; git {IDENTITY} commit -q -m below; git -C below config core.fsmonitor $PWD/evil",
    "an alias": "git config alias.diff '!./evil'; git config alias.ls-files '!./evil'",
}
A_FILTER = (
    "git config filter.x.clean $PWD/evil; git config filter.x.smudge $PWD/evil; echo '* filter=x' > .gitattributes"
)

# Eve's own git keeps the answer of her program in the index, which a download contains.
FORGET_ANSWER = "git -c core.fsmonitor=false update-index --no-fsmonitor"


@pytest.mark.parametrize("name", SETTINGS)
def test_git_differences_and_searches_run_no_program_of_the_repository(tenants: Tenants, name: str) -> None:
    eve = tenants.eve
    workspace = eve.start_thread()["cwd"]
    assert eve.run(REPOSITORY + SETTINGS[name], workspace)["exitCode"] == 0

    seen = [
        eve.attempt("gitDiffToRemote", {"cwd": workspace}),
        eve.attempt("fuzzyFileSearch", {"query": "file", "roots": [workspace]}),
    ]

    assert "PLANTED" not in "".join(seen)
    assert "+two" in seen[0] or name == "a remote with a helper"


def test_forks_and_downloads_run_no_program_of_the_repository(tenants: Tenants) -> None:
    eve = tenants.eve
    thread = eve.start_thread()
    everything = "; ".join([*SETTINGS.values(), A_FILTER, FORGET_ANSWER])
    assert eve.run(REPOSITORY + everything, thread["cwd"])["exitCode"] == 0
    run_turn(eve.client, thread["id"], command("true"))

    fork = eve.client.request("thread/fork", {"threadId": thread["id"]})["thread"]["id"]
    turn = run_turn(eve.client, fork, command("true"))
    read = [
        eve.client.request("thread/workspace/read", {"threadId": thread_id, "format": wanted})["dataBase64"]
        for thread_id in (thread["id"], fork)
        for wanted in ("diff", "bundle", "tar")
    ]

    assert turn["status"] == "completed"
    assert not any(b"PLANTED" in base64.b64decode(data) for data in read)
