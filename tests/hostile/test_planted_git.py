"""A command in a local user's folder cannot make the user's own git run something, however it plants that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from shared.errors import ToolError
from tests.support.unprivileged import unprivileged
from tests.workers.tools.context import make_call, make_context
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process, run_to_end
from workers.tools import apply_patch

IDENTITY = ("-c", "user.name=ada", "-c", "user.email=ada@localhost")
COMMIT = f"git {' '.join(IDENTITY)} commit -q --allow-empty -m x"
HOOK = "printf '#!/bin/sh\\ntouch {mark}\\n' > {hook}; chmod +x {hook}"
FSMONITOR = "config core.fsmonitor 'touch {mark}; false'"
NEW = "git init -q sub"
PLANTS: dict[str, tuple[str, ...]] = {  # what commands do, one after the other
    "a hook": (f"{NEW}; {HOOK.format(hook='sub/.git/hooks/post-index-change', mark='{mark}')}",),
    "a hook of a commit": (f"{NEW}; {HOOK.format(hook='sub/.git/hooks/pre-commit', mark='{mark}')}",),
    "hooks in a linked folder": (
        f"{NEW}; rm -rf sub/.git/hooks; mkdir hooks; ln -s ../../hooks sub/.git/hooks; "
        f"{HOOK.format(hook='hooks/pre-commit', mark='{mark}')}",
    ),
    "hooks elsewhere": (
        f"{NEW}; mkdir hooks; git -C sub config core.hooksPath ../hooks; "
        f"{HOOK.format(hook='hooks/pre-commit', mark='{mark}')}",
    ),
    "fsmonitor": (f"{NEW}; git -C sub {FSMONITOR}",),
    "an alias": (f"{NEW}; git -C sub config alias.x '!touch {{mark}}'",),
    "an external diff": (
        f"{NEW}; cd sub; echo 1 > a; git add a; {COMMIT}; echo 2 > a; git config diff.external 'touch {{mark}}'",
    ),
    "a filter": (f"{NEW}; cd sub; git config filter.x.clean 'touch {{mark}}'; echo '* filter=x' > .gitattributes",),
    "an included file": (
        f"{NEW}; git config -f evil core.fsmonitor 'touch {{mark}}; false'; git -C sub config include.path ../../evil",
    ),
    "a conditionally included file": (
        f"{NEW}; git config -f evil core.fsmonitor 'touch {{mark}}; false'; "
        "git -C sub config includeIf.onbranch:**.path ../../evil",
    ),
    "settings of the worktree": (
        f"{NEW}; git -C sub config extensions.worktreeConfig true; git -C sub config --worktree core.fsmonitor "
        "'touch {mark}; false'",
    ),
    "settings behind a link": (f"{NEW}; git -C sub {FSMONITOR}; mv sub/.git/config c; ln -s ../../c sub/.git/config",),
    "settings in one line": (f"{NEW}; printf '[core]fsmonitor = touch {{mark}}; false' >> sub/.git/config",),
    "settings in one quoted line": (
        f"{NEW}; printf '[core] fsmonitor = \"touch {{mark}}; false\"\\n' >> sub/.git/config",
    ),
    "settings that go on": (f"{NEW}; printf '[core]\\nfsmonitor = \\\\\\n touch {{mark}}\\n' >> sub/.git/config",),
    "a comment that seems to go on": (
        f"{NEW}; printf '[core]\\n# x \\\\\\nfsmonitor = touch {{mark}}\\n' >> sub/.git/config",
    ),
    "a value that seems harmless": (
        f"{NEW}; printf '[core]\\nbare = \\\\\\n\\nfsmonitor = touch {{mark}}\\n' >> sub/.git/config",
    ),
    "a file that leads to a repository": (f"git init -q --separate-git-dir data sub; git -C sub {FSMONITOR}",),
    "a link that leads to a repository": (
        f"git init -q data; mkdir sub; ln -s ../data/.git sub; git -C sub {FSMONITOR}",
    ),
    "a bare repository": (
        f"git init -q --bare sub; git -C sub {FSMONITOR}; git -C sub config core.bare false; "
        "git -C sub config core.worktree .",
    ),
    "a bare repository with an alias": ("git init -q --bare sub; git -C sub config alias.x '!touch {mark}'",),
    "settings of a common folder": (
        f"{NEW}; mv sub/.git/config sub/.git/objects sub/.git/refs .; mkdir common; mv config objects refs common; "
        f"echo ../../common > sub/.git/commondir; git -C sub {FSMONITOR}",
    ),
    "settings two folders above": (
        f"{NEW}; mkdir -p common/x/y; mv sub/.git/config sub/.git/objects sub/.git/refs common; "
        "mv sub/.git/* common/x/y; rmdir sub/.git; echo ../.. > common/x/y/commondir; "
        f"echo 'gitdir: ../common/x/y' > sub/.git; git -C sub {FSMONITOR}",
    ),
    "a repository that becomes one later": (
        f"{NEW}; git -C sub {FSMONITOR}; mv sub/.git/HEAD h; mv sub/.git hidden",
        "mv h hidden/HEAD; mv hidden sub/.git",
    ),
    "a file that is also settings": (
        f"{NEW}; mv sub/.git/config data; ln data sub/.git/config",
        "git config -f new core.fsmonitor 'touch {mark}; false'; cat new >> data",
    ),
    "a link to what is changed later": (
        f"{NEW}; ln -s ../data sub/data; mv sub/.git/config data",
        "git config -f data core.fsmonitor 'touch {mark}; false'; ln -s ../../data sub/.git/config",
    ),
    "a rebase that goes on": (
        f"{NEW}; cd sub; {COMMIT}; {COMMIT}; GIT_SEQUENCE_EDITOR='echo break >' git {' '.join(IDENTITY)} "
        "rebase -q -i HEAD~1; echo 'exec touch {mark}' > .git/rebase-merge/git-rebase-todo",
    ),
    "a submodule": (
        f"git init -q own; cd own; {COMMIT}; git init -q inner; cd inner; {COMMIT}; cd ..; git add inner 2>/dev/null; "
        f"{COMMIT}; git -C inner {FSMONITOR}",
    ),
    "folders that cannot be listed": (
        f"mkdir -p closed; cd closed; {NEW}; {HOOK.format(hook='sub/.git/hooks/pre-commit', mark='{mark}')}; "
        f"git -C sub {FSMONITOR}; chmod 0311 sub/.git/hooks sub/.git sub . ",
    ),
    "folders that cannot be written": (
        f"{NEW}; {HOOK.format(hook='sub/.git/hooks/post-index-change', mark='{mark}')}; git -C sub {FSMONITOR}; "
        "chmod 0555 sub/.git/hooks sub/.git",
    ),
    "deep below": (f"mkdir -p a/b/c; cd a/b/c; {NEW}; git -C sub {FSMONITOR}",),
}
REQUESTS = (
    ("status",),
    ("x",),
    ("rebase", "--continue"),
    ("add", "-A"),
    (*IDENTITY, "commit", "-q", "--allow-empty", "-m", "of the user"),
    ("diff", "HEAD~1"),
    ("log", "-p"),
)


def run_locally(cwd: Path, line: str) -> Process:
    """Run a command as a local user's model does. Its errors are in its output."""
    policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, cwd, hidden=[])
    return run_to_end(CommandSpec(argv=["/bin/sh", "-c", line], cwd=cwd, policy=policy, limits=CommandLimits()))


def users_git(folder: Path, *words: str) -> str:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_EDITOR": "true", "GIT_PAGER": "cat"}
    ran = subprocess.run(["git", *words], cwd=folder, env=environ, capture_output=True, check=False)
    return (ran.stdout + ran.stderr).decode(errors="replace")


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "project"
    folder.mkdir()
    return folder


def use_git_everywhere(cwd: Path) -> None:
    for folder in [cwd, *(path for path in cwd.rglob("*") if path.is_dir() and ".git" not in path.parts)]:
        for request in REQUESTS:
            users_git(folder, *request)


@pytest.mark.parametrize("name", PLANTS)
def test_the_users_git_runs_nothing_that_a_command_has_planted(cwd: Path, name: str) -> None:
    mark = cwd.parent / "mark"

    said = [run_locally(cwd, line.replace("{mark}", str(mark))).output.text() for line in PLANTS[name]]
    use_git_everywhere(cwd)

    assert not mark.exists()
    assert "[Threadhouse: removed" in "".join(said)


@pytest.mark.parametrize("name", PLANTS)
def test_the_plants_work_where_nothing_removes_them(cwd: Path, name: str) -> None:
    """Without this the test above could pass because it plants nothing."""
    mark = cwd.parent / "mark"
    for line in PLANTS[name]:
        subprocess.run(["/bin/sh", "-c", line.replace("{mark}", str(mark))], cwd=cwd, capture_output=True, check=False)

    use_git_everywhere(cwd)

    assert mark.exists()


AS_A_USER = """
import subprocess, sys
from pathlib import Path
from workers.runner import repositories
from workers.sandbox import runner
from workers.sandbox.policy import SandboxPolicy
runner.is_runner = True
cwd = Path(sys.argv[1])
policy = SandboxPolicy(kind="workspace-write", cwd=cwd, writable_roots=(cwd,), protected=(cwd / ".git",))
before = repositories.find(policy)
subprocess.run(["/bin/sh", "-c", sys.argv[2]], cwd=cwd)
repositories.clean(policy, before)
"""


@pytest.mark.parametrize("name", ["folders that cannot be listed", "folders that cannot be written"])
def test_folders_are_cleaned_whatever_their_modes_are(name: str) -> None:
    """For root modes have no effect, so this runs as somebody else."""
    with unprivileged() as user:
        cwd = user.folder / "project"
        user.run("import pathlib, sys; pathlib.Path(sys.argv[1]).mkdir()", str(cwd))
        mark = user.folder / "mark"

        user.run(AS_A_USER, str(cwd), PLANTS[name][0].replace("{mark}", str(mark)))

        assert not [path for path in cwd.rglob("*") if path.parent.name == "hooks" and path.suffix != ".sample"]
        assert not [path for path in cwd.rglob("config") if "fsmonitor" in path.read_text()]


def test_a_repository_that_a_command_makes_works_for_commands_and_for_the_user(cwd: Path) -> None:
    users_git(cwd, "init", "-q", "--bare", "origin")

    made = run_locally(cwd, f"git clone -q {cwd}/origin sub; cd sub; git config user.name bob; echo 1 > file")
    later = run_locally(cwd, f"cd sub && git add file && {COMMIT} && git log --format=%s")

    assert "Threadhouse" not in made.output.text()
    assert later.output.text() == "x\n"
    assert users_git(cwd / "sub", "remote", "get-url", "origin").strip() == str(cwd / "origin")
    assert users_git(cwd / "sub", "config", "user.name") == "bob\n"
    assert users_git(cwd / "sub", "status", "--short") == ""


def test_what_the_user_has_set_up_in_a_repository_below_stays(cwd: Path) -> None:
    own = cwd / "own"
    own.mkdir()
    users_git(own, "init", "-q")
    users_git(own, "config", "alias.x", "!echo mine")
    hook = own / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho checked >&2\n")
    hook.chmod(0o755)

    said = run_locally(cwd, f"cd own; {COMMIT}; git config user.name bob; git config alias.y '!false'").output.text()

    assert "alias" in said
    assert users_git(own, "x") == "mine\n"
    assert users_git(own, "config", "user.name") == "bob\n"
    assert users_git(own, "config", "alias.y") == ""
    assert "checked" in users_git(own, *IDENTITY, "commit", "--allow-empty", "-m", "y")


@pytest.mark.parametrize("line", ["git init", "git clone {origin} .", "git init -q . && echo made"])
def test_a_repository_in_the_folder_itself_is_refused_and_the_model_is_told_what_to_do(cwd: Path, line: str) -> None:
    users_git(cwd.parent, "init", "-q", "--bare", "origin")

    refused = run_locally(cwd, line.format(origin=cwd.parent / "origin"))

    assert refused.exit_code != 0
    assert "no command can make `.git` in this folder" in refused.output.text()
    assert "git init" in refused.output.text()
    assert list(cwd.iterdir()) == []


def test_a_repository_that_a_git_file_leads_to_cannot_be_written(cwd: Path) -> None:
    users_git(cwd, "init", "-q", "--separate-git-dir", str(cwd / "data"))
    before = (cwd / "data" / "config").read_text()

    run_locally(cwd, "echo x > data/hooks/pre-commit; git config alias.x '!id'; mv data d; rm -f .git; echo y > beside")

    assert (cwd / "beside").exists()
    assert (cwd / ".git").read_text().startswith("gitdir: ")
    assert (cwd / "data" / "config").read_text() == before
    assert not (cwd / "data" / "hooks" / "pre-commit").exists()


def test_a_git_file_makes_nothing_visible_that_is_hidden(cwd: Path) -> None:
    hidden = cwd / "server"
    (hidden / "below").mkdir(parents=True)
    (hidden / "below" / "config.toml").write_text("sk-secret")
    (cwd / ".git").write_text("gitdir: server/below\n")
    policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, cwd, hidden=[hidden])

    spec = CommandSpec(argv=["/bin/cat", "server/below/config.toml"], cwd=cwd, policy=policy, limits=CommandLimits())

    assert "sk-secret" not in run_to_end(spec).output.text()


def test_a_folder_whose_git_is_a_link_is_refused_and_the_reason_given(cwd: Path) -> None:
    users_git(cwd, "init", "-q", "data")
    (cwd / ".git").symlink_to("data/.git")

    with pytest.raises(ToolError, match=r"symbolic link.*gitdir: FOLDER"):
        run_locally(cwd, "true")


@pytest.mark.parametrize(
    "path", [".git/config", "sub/.git/hooks/pre-commit", "bare/config", "bare/hooks/x", "new/HEAD", "half/objects/x"]
)
def test_a_patch_cannot_write_a_file_of_a_repository(cwd: Path, path: str) -> None:
    users_git(cwd, "init", "-q", "--bare", "bare")
    (cwd / "bare" / "config").unlink()
    (cwd / "half").mkdir()
    (cwd / "half" / "HEAD").write_text("ref: refs/heads/main\n")
    ctx = make_context(cwd)
    call = make_call("apply_patch", f"*** Begin Patch\n*** Add File: {path}\n+x\n*** End Patch\n")

    prepared = apply_patch.prepare(call, ctx)

    assert prepared.requirement.escalates
    with pytest.raises(ToolError, match="does not let this thread write"):
        apply_patch.run(prepared, ctx)
    assert not (cwd / path).exists()


def test_a_patch_can_write_a_worktree_that_is_in_a_bare_repository(cwd: Path) -> None:
    users_git(cwd, "init", "-q", "--bare", ".")
    ctx = make_context(cwd)
    call = make_call("apply_patch", "*** Begin Patch\n*** Add File: main/config\n+x\n*** End Patch\n")

    apply_patch.run(apply_patch.prepare(call, ctx), ctx)

    assert (cwd / "main" / "config").read_text() == "x\n"
