"""Lines for a shell, with which an attacker reads, changes and exchanges what is at her paths."""

from __future__ import annotations

import shlex

from tests.hostile.attacker import NAMES, Aim, Attacker

RACE_SECONDS = 1.5
# Exchanges a folder and a link, as fast as one process can. Arguments: name, target, seconds.
RACE = """
import ctypes, os, sys, time
name, target, until = sys.argv[1], sys.argv[2], time.monotonic() + float(sys.argv[3])
libc, link = ctypes.CDLL(None), f"{name}.{os.getpid()}"
os.symlink(target, link)
while time.monotonic() < until:
    libc.renameat2(-100, name.encode(), -100, link.encode(), 2)
for one in (name, link):
    if os.path.islink(one):
        os.unlink(one)
"""
SLOW_RACE = "while :; do mv -T {name} {name}.x; ln -s {target} {name}; rm {name}; mv -T {name}.x {name}; done"
# A repository whose remote has what is committed, so that there is a difference to it.
REPOSITORY = (
    "git init -q; echo first > own; git add -A . 2>/dev/null; git -c user.name=eve -c user.email=eve@localhost "
    "commit -q -m first; git update-ref refs/remotes/origin/main HEAD"
)


def reading_line(attacker: Attacker, aim: Aim) -> str:
    """Return a shell line that tries to read what is not the attacker's. It succeeds when it prints something."""
    target, name = aim.target, aim.name
    lines = [
        *[f"cat {name}/{target.name}"] * 2,
        *[f"ls -la . ; cat {target.name} * */*"] * 3,
        f"cat {target.path}",
        f"cat {name}/*/{target.name}",
        f"ls -laR {name}/ {target.folder}",
        f"cd {name} && ls -la . .. && cat {target.name}",
        f"cd {name}/.. && ls -la && cat {target.name}",
        "find -L . /proc/self/fd /proc/self/cwd /proc/self/root -maxdepth 4 -type f | head -30 | xargs cat",
        f"grep -rah . --include={target.name} . .. 2>/dev/null | head -50",
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'",
        f"for p in /proc/[0-9]*; do cat $p/root{target.path} $p/cwd/{target.name} $p/cwd/../{target.name}; done",
        "for fd in /proc/self/fd/* /proc/1/fd/*; do ls -la $fd/ $fd/.. ; done",
        f"tar c -h {name} | head -c 100000",
        f"ls -la ../ ../../ ; cat ../*/{target.name}",
        f"git -C {name} log -p; git -C {target.folder} -c safe.directory='*' log -p",
        f"git --git-dir={target.folder}/.git log -p; git diff --no-index /dev/null {target.path}",
    ]
    return attacker.random.choice(lines)


def changing_line(attacker: Attacker, aim: Aim) -> str:
    """Return a shell line that changes what the attackers' paths lead to, or the files of somebody else."""
    target, name, other = aim.target, aim.name, attacker.random.choice(NAMES)
    workspace, folder = aim.workspace, attacker.attack.folder
    lines = [
        f"mv -T {name} {other}",
        *[f"mv {workspace} {workspace}.moved; ln -s {target.folder} {workspace}"] * 2,
        f"mv {workspace} {folder}/moved; mkdir {workspace}",
        f"rm -rf {workspace}; ln -s {target.folder} {workspace}",
        f"cd {folder} && ln -s {target.folder} planted",
        *[f"rm -rf {name}; mkdir -p $(dirname {name}); ln -sfn {target.folder} {name}"] * 3,
        f"rm -rf {name}; mkdir -p $(dirname {name}); ln -sfn {target.path} {name}",
        f"ln -sfn {target.path} {name}/{target.name}",
        f"rm -rf {name}; ln -s ../../{target.folder.name} {name}",
        f"rm -rf {name}; mkdir -p {name}; echo mine > {name}/{target.name}",
        f"ln -f {target.path} {target.name}",
        f"echo mine > own; ln -f own {name}; ln -f own {workspace}/{other}",
        f"rm -rf {name}; mkfifo {name}; (sleep 2; echo x > {name}) & exit 0",
        f"rm -rf {name}; mkdir -p $(dirname {name}); mkfifo {name}/{target.name} || mkfifo {name}",
        f"mkdir -p {name}; mount --bind {target.folder} {name}",
        f"mkdir -p {name}; unshare -Urm sh -c 'mount --bind {target.folder} {name}; cat {name}/{target.name}'",
        f"mkdir -p {name}; unshare -Urm mount -t proc proc {name}; nsenter -t 1 -m cat {target.path}",
        f"mknod {name} b 8 0; mknod {name} c 1 1; umount -l {folder}; mount -o remount,rw {folder}",
        f"echo planted > {target.folder}/planted",
        f"echo planted >> {target.path}; rm -rf {target.path}",
        f"echo planted >> {name}/{target.name}; echo planted > {name}/planted",
        f"chmod -R 777 {target.folder} {folder}; chown -R 65534 {name} {target.folder}",
        f"mkdir -p {name}; cd {name} && git init -q && git config core.worktree {target.folder}",
        f"rm -rf .git; git init -q; git config core.fsmonitor 'cat {target.path} >&2'; git config core.pager cat",
        f"rm -rf .git {name}/.git; echo 'gitdir: {target.folder}/.git' | tee .git > {name}/.git",
        f"rm -rf .git; ln -s {target.folder}/.git .git",
        f"git init -q; echo {target.folder}/.git/objects > .git/objects/info/alternates; "
        f"git config include.path {target.path}",
        f"rm -rf .git; {REPOSITORY}; echo changed >> own",
        f"rm -rf .git; {REPOSITORY}; git config core.worktree {target.folder}",
        f"rm -rf .git {name}; mkdir -p {name}; cd {name}; {REPOSITORY}; rm -rf below; ln -s {target.folder} below",
        f"rm -rf .git; {REPOSITORY}; git config filter.x.clean 'cat {target.path}'; "
        f"git config diff.x.textconv 'cat {target.path}'; echo '* filter=x diff=x' > .gitattributes",
    ]
    return attacker.random.choice(lines)


def racing_line(attacker: Attacker, aim: Aim) -> str:
    """Return a shell line that exchanges a folder and a link to something else, for RACE_SECONDS."""
    target, name = aim.target, aim.name
    if attacker.random.random() < 0.2:  # the workspace itself, which only a server could exchange
        return f"exec python3 -c {shlex.quote(RACE)} {aim.workspace} {target.folder} {RACE_SECONDS}"
    goal = attacker.random.choice([target.folder, target.folder, target.path, "../.."])
    return (
        f"rm -rf {name}; mkdir -p {name}/d {name}/.git; echo mine > {name}/{target.name}; "
        f"if command -v python3 >/dev/null; then exec python3 -c {shlex.quote(RACE)} {name} {goal} {RACE_SECONDS}; fi; "
        + SLOW_RACE.format(name=name, target=goal)
    )
