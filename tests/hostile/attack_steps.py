"""The steps of an attacker: requests that open, move, copy or list files, and commands that change what is there."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable

from tests.hostile.attack_lines import RACE_SECONDS, changing_line, racing_line, reading_line
from tests.hostile.attacker import Aim, Attacker, Refused
from tests.support.images import png

EXEC_MS = 8_000
# Of a member of an archive. All but the first lead out.
SHAPES = (*["link inside"] * 4, "link", "link above", "hard link", "above", "absolute", "through")


def execute(attacker: Attacker, line: str, cwd: str, **params: object) -> None:
    """Run a shell line by command/exec. Errors: Refused when it fails."""
    asked = {"command": ["/bin/sh", "-c", line], "cwd": cwd, "timeoutMs": EXEC_MS, **params}
    result = attacker.request("command/exec", asked)
    if result["exitCode"] != 0:
        raise Refused(f"exit code {result['exitCode']}: {result['stderr'][-200:]}")


def exec_read(attacker: Attacker) -> None:
    aim = attacker.aim()
    execute(attacker, reading_line(attacker, aim), attacker.folder(aim), outputBytesCap=1 << 18)


def exec_change(attacker: Attacker) -> None:
    aim = attacker.aim(planted=True)
    execute(attacker, changing_line(attacker, aim), str(aim.workspace))


def exec_policy(attacker: Attacker) -> None:
    """A command with a policy that asks for more than is allowed."""
    kind = attacker.random.choice(["workspaceWrite"] * 4 + ["dangerFullAccess", "readOnly"])
    policy: dict[str, object] = {"type": kind}
    if kind == "workspaceWrite":
        policy["writableRoots"] = [attacker.folder(attacker.aim()) for _ in range(attacker.random.randint(0, 2))]
    aim = attacker.aim()
    line = attacker.random.choice([reading_line, changing_line])(attacker, aim)
    execute(attacker, line, attacker.folder(aim), sandboxPolicy=policy)


def race(attacker: Attacker) -> None:
    """Begin to exchange a folder and a link, and go on with other steps before that ends."""
    assert attacker.client is not None
    aim = attacker.aim(planted=True)
    line = racing_line(attacker, aim)
    attacker.last.append(f"race in {aim.workspace}: {line[:100]} … {line[-200:]}")
    timeout_ms = int(RACE_SECONDS * 1000) + 500
    asked = {"command": ["/bin/sh", "-c", line], "cwd": str(aim.workspace), "timeoutMs": timeout_ms}
    attacker.client.send_request("command/exec", asked)


def fs_read(attacker: Attacker) -> None:
    method = attacker.random.choice(["fs/readFile", "fs/readFile", "fs/readDirectory", "fs/getMetadata"])
    path = attacker.folder if method == "fs/readDirectory" else attacker.path
    attacker.request(method, {"path": path(attacker.aim())})


def fs_write(attacker: Attacker) -> None:
    data = base64.b64encode(b"planted").decode()
    attacker.request("fs/writeFile", {"path": attacker.path(attacker.aim()), "dataBase64": data})


def fs_create(attacker: Attacker) -> None:
    path = attacker.path(attacker.aim())
    attacker.request("fs/createDirectory", {"path": path, "recursive": attacker.random.random() < 0.7})


def fs_remove(attacker: Attacker) -> None:
    attacker.request("fs/remove", {"path": attacker.path(attacker.aim()), "recursive": True, "force": True})


def fs_copy(attacker: Attacker) -> None:
    """Copy from anywhere to anywhere; what came from elsewhere is then read."""
    aim = attacker.aim()
    source = attacker.random.choice([attacker.path, attacker.folder])(aim)
    copy = f"{aim.workspace}/copy{attacker.random.randrange(3)}"
    target = attacker.random.choice([attacker.path(attacker.aim()), copy, copy])
    attacker.request("fs/copy", {"sourcePath": source, "destinationPath": target, "recursive": True})
    execute(attacker, f"cat {target} || grep -rah . {target}", str(aim.workspace))


def search(attacker: Attacker) -> None:
    aim = attacker.aim()
    query = attacker.random.choice([aim.target.name, "secret", "e", "0"])
    attacker.request("fuzzyFileSearch", {"query": query, "roots": [attacker.folder(aim), str(aim.workspace)]})


def search_session(attacker: Attacker) -> None:
    session = f"search-{attacker.random.randrange(4)}"
    aim = attacker.aim()
    attacker.request("fuzzyFileSearch/sessionStart", {"sessionId": session, "roots": [attacker.folder(aim)]})
    attacker.request("fuzzyFileSearch/sessionUpdate", {"sessionId": session, "query": aim.target.name})
    if attacker.random.random() < 0.5:
        attacker.request("fuzzyFileSearch/sessionStop", {"sessionId": session})


def git_diff(attacker: Attacker) -> None:
    attacker.request("gitDiffToRemote", {"cwd": attacker.folder(attacker.aim())})


def turn_command(attacker: Attacker) -> None:
    """A turn whose model runs commands, some of them in a folder that others exchange."""
    aim = attacker.aim()
    lines = [attacker.random.choice([reading_line, reading_line, changing_line])(attacker, aim) for _ in range(2)]
    calls = [{"cmd": line, "login": False, "workdir": attacker.random.choice([".", aim.name])} for line in lines]
    joint = attacker.random.choice(["+", " "])
    attacker.turn(joint.join(f"[[tool exec_command {json.dumps(call)}]]" for call in calls), thread_id=aim.thread_id)


def turn_patch(attacker: Attacker) -> None:
    aim = attacker.aim()
    path, below = attacker.path(aim), f"{aim.name}/{aim.target.name}"
    patch = attacker.random.choice(
        [
            f"*** Add File: {path}\n+planted\n",
            f"*** Delete File: {path}\n",
            f"*** Update File: {path}\n@@\n-mine\n+planted\n",
            f"*** Update File: {below}\n@@\n-mine\n+planted\n",
            f"*** Update File: {path}\n*** Move to: {below}.moved\n@@\n-mine\n+mine\n",
            f"*** Delete File: {below}\n",
        ]
    )
    attacker.turn(f"[[patch *** Begin Patch\n{patch}*** End Patch]]", thread_id=aim.thread_id)


def turn_image(attacker: Attacker) -> None:
    """Images by the tool and in the input. `secret.png` is an image that contains a canary."""
    aim = attacker.aim()
    path = attacker.random.choice([attacker.path(aim), f"{aim.name}/secret.png", str(aim.target.folder / "secret.png")])
    if attacker.random.random() < 0.5:
        attacker.turn(f"[[tool view_image {json.dumps({'path': path})}]]", thread_id=aim.thread_id)
    else:
        absolute = path if path.startswith("/") else f"{aim.workspace}/{path}"
        attacker.turn("hello", {"type": "localImage", "path": absolute}, thread_id=aim.thread_id)


def turn_settings(attacker: Attacker) -> None:
    """A turn with a folder and writable roots of the attacker's choice, in a thread of its own."""
    aim = attacker.aim()
    policy = {"type": "workspaceWrite", "writableRoots": [attacker.folder(attacker.aim())]}
    cwd = attacker.random.choice([attacker.folder(aim), str(aim.workspace)])
    thread = attacker.request("thread/start", {"cwd": cwd} if attacker.random.random() < 0.5 else {})["thread"]
    choices: list[dict[str, object]] = [
        {"cwd": cwd},
        {"sandboxPolicy": policy},
        {"cwd": cwd, "sandboxPolicy": policy},
        {},
    ]
    attacker.turn(running(reading_line(attacker, aim)), thread_id=thread["id"], **attacker.random.choice(choices))


def running(line: str) -> str:
    """Return a script whose model runs the line without a login shell, whose profile depends on the machine."""
    return f"[[tool exec_command {json.dumps({'cmd': line, 'login': False})}]]"


def shell_command(attacker: Attacker) -> None:
    aim = attacker.aim()
    line = reading_line(attacker, aim)  # it may wait at a FIFO, and later turns wait for it
    asked = {"threadId": aim.thread_id, "command": line, "timeoutMs": EXEC_MS}
    attacker.request("thread/shellCommand", asked)


def fork(attacker: Attacker) -> None:
    """Fork a thread, whose workspace is copied while others change it; look at the copy."""
    aim = attacker.aim()
    fork_id: str = attacker.request("thread/fork", {"threadId": aim.thread_id})["thread"]["id"]
    attacker.turn(running(reading_line(attacker, aim)), thread_id=fork_id)
    attacker.add_workspace(fork_id)


def download(attacker: Attacker) -> None:
    wanted = attacker.random.choice(["tar", "diff", "bundle"])
    attacker.http("GET", f"/v2/thread/workspace?threadId={attacker.aim().thread_id}&format={wanted}")


def read_workspace(attacker: Attacker) -> None:
    wanted = attacker.random.choice(["tar", "diff", "bundle"])
    asked = {"threadId": attacker.aim().thread_id, "format": wanted}
    data = attacker.request("thread/workspace/read", asked)["dataBase64"]
    attacker.check(base64.b64decode(data), compressed=wanted == "bundle")


def upload(attacker: Attacker) -> None:
    """Upload an archive, which may lead out, begin a thread with it and look at what it has become."""
    aim = attacker.aim()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        add_member(tar, aim, attacker.random.choice(SHAPES))
        add_member(tar, aim, "file")
    archive_id = json.loads(attacker.http("POST", "/v2/workspace/archive", packed.getvalue()))["archive"]
    thread_id = attacker.start_thread({"config": {"workspace": {"archive": archive_id}}})
    try:
        attacker.turn(running(reading_line(attacker, aim)), thread_id=thread_id)
    finally:  # one that was refused would count against the limit of archives for a day
        attacker.attack.deployment.store.archives.delete(archive_id, attacker.attack.user_id)


def add_member(tar: tarfile.TarFile, aim: Aim, shape: str) -> None:
    target = aim.target
    member = tarfile.TarInfo(f"of-{shape.replace(' ', '-')}")
    data = b"planted"
    if shape == "link inside":
        member.type, member.linkname = tarfile.SYMTYPE, "of-file"
    elif shape == "link":
        member.type, member.linkname = tarfile.SYMTYPE, str(target.folder)
    elif shape == "link above":
        member.type, member.linkname = tarfile.SYMTYPE, f"../../{target.folder.name}"
    elif shape == "hard link":
        member.type, member.linkname = tarfile.LNKTYPE, str(target.path)
    elif shape == "above":
        member.name = f"../../{target.folder.name}/{target.name}"
    elif shape == "absolute":
        member.name = str(target.path)
    elif shape == "through":
        link = tarfile.TarInfo("through")
        link.type, link.linkname = tarfile.SYMTYPE, str(target.folder)
        tar.addfile(link)
        member.name = f"through/{target.name}"
    if member.isreg():
        member.size = len(data)
    tar.addfile(member, io.BytesIO(data) if member.isreg() else None)


def archive(attacker: Attacker) -> None:
    thread = {"threadId": attacker.aim().thread_id}
    attacker.request("thread/archive", thread)
    attacker.request("thread/unarchive", thread)


def erase(attacker: Attacker) -> None:
    """Delete a thread with its workspace, in which others exchange folders, and begin another one."""
    attacker.start_thread({})  # before the other one goes: several attackers may do this at once
    with attacker.attack._lock:
        thread_id, _ = attacker.attack.workspaces.pop(0)
    attacker.request("thread/delete", {"threadId": thread_id})


def feedback(attacker: Attacker) -> None:
    asked = {
        "classification": "bug",
        "threadId": attacker.aim().thread_id,
        "includeLogs": True,
        "extraLogFiles": [attacker.path(attacker.aim()) for _ in range(3)],
    }
    report_id = attacker.request("feedback/upload", asked)["feedbackId"]
    attacker.request("feedback/read", {"feedbackId": report_id})


def reread(attacker: Attacker) -> None:
    """Read histories, which contain what earlier steps were shown."""
    thread_id = attacker.aim().thread_id
    attacker.request("thread/read", {"threadId": thread_id, "includeTurns": True})
    attacker.request("thread/list", {})
    attacker.request("thread/items/list", {"threadId": thread_id})


def others_ids(attacker: Attacker) -> None:
    """Use the ids of the other tenant, which are no secrets."""
    victim = attacker.attack.victim
    thread = {"threadId": victim["threadId"]}
    text = [{"type": "text", "text": "[[run cat *]]"}]
    requests: list[tuple[str, dict[str, object]]] = [
        ("thread/read", {**thread, "includeTurns": True}),
        ("thread/resume", thread),
        ("thread/fork", thread),
        ("thread/items/list", thread),
        ("thread/turns/list", thread),
        ("thread/workspace/read", {**thread, "format": "tar"}),
        ("thread/archive", thread),
        ("thread/delete", thread),
        ("thread/name/set", {**thread, "name": "planted"}),
        ("thread/shellCommand", {**thread, "command": "cat *"}),
        ("thread/rollback", {**thread, "numTurns": 1}),
        ("turn/start", {**thread, "input": text}),
        ("turn/interrupt", {**thread, "turnId": victim["turnId"]}),
        ("feedback/read", {"feedbackId": victim["feedbackId"]}),
        ("feedback/upload", {**thread, "classification": "bug", "includeLogs": True}),
        ("fs/readDirectory", {"path": f"{attacker.attack.folder}/../{victim['userId']}"}),
    ]
    attacker.request(*attacker.random.choice(requests))


def plant_image(attacker: Attacker) -> None:
    data = base64.b64encode(png(8, 8)).decode()
    path = f"{attacker.aim().workspace}/{attacker.random.choice(['secret.png', 'a/secret.png'])}"
    attacker.request("fs/writeFile", {"path": path, "dataBase64": data})


KINDS: dict[str, tuple[int, Callable[[Attacker], None]]] = {  # name → (how often, step)
    "command/exec: read": (10, exec_read),
    "command/exec: change": (14, exec_change),
    "command/exec: policy": (4, exec_policy),
    "command/exec: race": (5, race),
    "fs: read": (14, fs_read),
    "fs: write": (5, fs_write),
    "fs: create": (2, fs_create),
    "fs: remove": (3, fs_remove),
    "fs: copy": (6, fs_copy),
    "fs: write an image": (1, plant_image),
    "search": (3, search),
    "search in a session": (2, search_session),
    "gitDiffToRemote": (3, git_diff),
    "turn: commands": (4, turn_command),
    "turn: patch": (4, turn_patch),
    "turn: image": (3, turn_image),
    "turn: settings": (4, turn_settings),
    "thread/shellCommand": (1, shell_command),
    "thread/fork": (1, fork),
    "download": (2, download),
    "thread/workspace/read": (1, read_workspace),
    "upload": (2, upload),
    "archive and unarchive": (1, archive),
    "erase": (1, erase),
    "feedback": (1, feedback),
    "read histories": (2, reread),
    "ids of the other tenant": (3, others_ids),
}
