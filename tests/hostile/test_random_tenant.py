"""A hostile tenant does random steps on several connections at once: she sees and changes nothing that is not hers.

The number of steps is THREADHOUSE_HOSTILE_STEPS, the seed THREADHOUSE_HOSTILE_SEED; both are printed.
`make hostile N=10000` runs as many.
"""

from __future__ import annotations

import base64
import io
import os
import secrets
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile import attack_skills, attack_steps
from tests.hostile.attacker import Attack, Attacker, Target
from tests.hostile.canaries import Canaries, snapshot
from tests.hostile.conftest import Tenant
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.images import png
from tests.support.turns import command, run_turn
from tests.support.wait import until

STEPS = int(os.environ.get("THREADHOUSE_HOSTILE_STEPS") or 300)
SEED = os.environ.get("THREADHOUSE_HOSTILE_SEED") or secrets.token_hex(4)
STEPS_PER_SECOND = 2  # on a busy machine, at least
ATTACKERS = 6
QUEUES = "turns,calls,feedback,background"


@dataclass
class Victim:
    """The other tenant, with canaries in all that is hers, and the server's own canaries."""

    tenant: Tenant
    canaries: Canaries
    targets: list[Target]
    ids: dict[str, str]
    untouched: list[Path]


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    home = tmp_path / "home"
    home.mkdir()
    tables: dict[str, object] = {"feedback": {"sinks": ["database", "directory"], "reports_per_day": 0}}
    server = STEADY | {"sessions_dir": str(home / "sessions")}
    made = Deployment(home, "postgres", api=2, workers=2, server=server, settings=tables, queues=QUEUES)
    with logs_shown_on_failure(made):
        yield made
        made.close()


def plant(deployment: Deployment, outside: Path) -> Victim:
    """Start the server. Put canaries into everything that only Ada or the server may see."""
    canaries, home = Canaries(), deployment.home
    with (home / "config.toml").open("a") as config:
        config.write(f"# {canaries.make('config.toml')}\n")
    for process in deployment.processes:
        process.environ["THREADHOUSE_TEST_SECRET"] = canaries.make(f"environment of {process.name}")
    deployment.__enter__()
    ada = Tenant(deployment, *deployment.add_user("ada"), None)  # type: ignore[arg-type]
    ada.client = deployment.connect(0, token=ada.key)
    ids, workspace = _make_victim_thread(ada, canaries)
    deployment.redis.set("canary", canaries.make("Redis"))
    deployment.redis.save()
    with deployment.workers[0].log.open("a") as log:
        log.write(canaries.make("log") + "\n")
    (outside / "secret.txt").write_text(canaries.make("file of the host"))
    keys = Path(os.environ["HOME"]) / ".ssh"
    keys.mkdir(exist_ok=True)
    (keys / "id_ed25519").write_text(canaries.make("HOME of the server's user"))
    (rollout,) = (home / "sessions").rglob(f"*{ids['threadId']}.jsonl")
    redis_file = next(path for path in (home / "redis").iterdir() if path.suffix == ".rdb")
    targets = [
        *[Target(workspace, name) for name in ("secret.txt", "secret.png")] * 2,
        Target(workspace / "below", "secret.txt"),
        Target(ada.folder / "skills" / "hers", "SKILL.md"),
        Target(workspace.parent, workspace.name),
        Target(home / "workspaces", ids["userId"]),
        Target(home, "config.toml"),
        Target(home, deployment.workers[0].log.name),
        Target(redis_file.parent, redis_file.name),
        Target(rollout.parent, rollout.name),
        Target(home / "feedback", f"{ids['feedbackId']}.json"),
        Target(outside, "secret.txt"),
        Target(keys, "id_ed25519"),
    ]
    return Victim(ada, canaries, targets, ids, [ada.folder, outside, keys, home / "config.toml", rollout])


def _make_victim_thread(ada: Tenant, canaries: Canaries) -> tuple[dict[str, str], Path]:
    """Make Ada's thread with a workspace, a turn, a session file and a report. Return its ids and its folder."""
    thread = ada.start_thread()
    workspace = ada.folder / thread["id"]
    (workspace / "below").mkdir()
    for path in ("secret.txt", "below/secret.txt"):
        (workspace / path).write_text(canaries.make(f"Ada's {path}"))
    (workspace / canaries.make("a name of Ada's file")).touch()
    hidden = canaries.make("Ada's image").encode()
    (workspace / "secret.png").write_bytes(png(8, 8, filler=hidden))
    skill = f"---\nname: hers\ndescription: {canaries.make('the description of a skill of Ada')}\n---\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("SKILL.md", skill + canaries.make("a skill of Ada"))
    ada.client.request("skills/install", {"dataBase64": base64.b64encode(packed.getvalue()).decode()})
    identity = "-c user.name=ada -c user.email=ada@localhost"
    line = f"git init -q; git add .; git {identity} commit -q -m {canaries.make('a commit of Ada')}"
    assert ada.run(line, str(workspace))["exitCode"] == 0
    said = canaries.make("a message of Ada")
    turn = run_turn(ada.client, thread["id"], f"{said} {command('cat secret.txt')}")
    name = canaries.make("the name of Ada's thread")
    ada.client.request("thread/name/set", {"threadId": thread["id"], "name": name})
    reason = canaries.make("a report of Ada")
    asked = {"classification": "bug", "threadId": thread["id"], "includeLogs": True, "reason": reason}
    report = ada.client.request("feedback/upload", asked)["feedbackId"]
    # What is still written after the attack has begun would look like its work.
    until(lambda: ada.client.request("feedback/read", {"feedbackId": report})["feedback"]["status"] == "delivered")
    sessions = ada.deployment.home / "sessions"
    until(lambda: [file for file in sessions.rglob(f"*{thread['id']}.jsonl") if name in file.read_text()])
    ids = {"threadId": thread["id"], "turnId": turn["id"], "feedbackId": report, "userId": ada.user_id}
    return ids, workspace


def read_all(ada: Tenant, ids: dict[str, str]) -> list[dict[str, object]]:
    """Return Ada's thread, with all that was said, and her report."""
    thread = ada.client.request("thread/read", {"threadId": ids["threadId"], "includeTurns": True})
    return [thread, ada.client.request("feedback/read", {"feedbackId": ids["feedbackId"]})]


def stay_at_work(ada: Tenant, ids: dict[str, str], ended: threading.Event) -> list[str]:
    """Read Ada's file as she does, until the attack has ended. Return what was wrong."""
    wrong = []
    path = f"{ada.folder}/{ids['threadId']}/below/secret.txt"
    before = ada.client.request("fs/readFile", {"path": path})
    while not ended.wait(0.5):
        if ada.client.request("fs/readFile", {"path": path}) != before:
            wrong.append("another content of Ada's file")
    return wrong


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder of the host that is in no workspace. It is not in /tmp, because every sandbox has its own."""
    with tempfile.TemporaryDirectory(prefix="threadhouse-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.mark.timeout(600 + STEPS / STEPS_PER_SECOND)
def test_a_hostile_tenant_sees_and_changes_nothing_of_others(
    deployment: Deployment, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\nTHREADHOUSE_HOSTILE_STEPS={STEPS} THREADHOUSE_HOSTILE_SEED={SEED}")
    victim = plant(deployment, outside)
    ada = victim.tenant
    user_id, key = deployment.add_user("eve")
    attack = Attack(deployment, victim.canaries, key, user_id, victim.targets, victim.ids, STEPS)
    attack.skip_model_requests()
    before = snapshot(*victim.untouched), read_all(ada, victim.ids)
    begun = time.monotonic()

    attackers = [Attacker(attack, number, SEED) for number in range(ATTACKERS)]
    threads = [
        threading.Thread(target=attacker.run, args=[attack_steps.KINDS | attack_skills.KINDS], daemon=True)
        for attacker in attackers
    ]
    for thread in threads:
        thread.start()
    ended = threading.Event()
    wrong: list[str] = []
    work = threading.Thread(target=lambda: wrong.extend(stay_at_work(ada, victim.ids, ended)), daemon=True)
    work.start()
    for thread in threads:
        thread.join()
    ended.set()
    work.join()

    with capsys.disabled():
        print(f"{attack.report()}\n{time.monotonic() - begun:.0f} s")
    assert not attack.seen, attack.seen[0]
    assert not attack.broken, attack.broken[0]
    for path in attack.session_files():
        with suppress(FileNotFoundError):  # its thread was deleted or archived, which a worker completes later
            assert not victim.canaries.found_in(path.read_bytes()), path
    assert (snapshot(*victim.untouched), read_all(ada, victim.ids)) == before
    assert not wrong
    turn = run_turn(ada.client, victim.ids["threadId"], command("cat secret.txt"))
    assert turn["status"] == "completed"
    assert all(process.is_running for process in deployment.processes)
