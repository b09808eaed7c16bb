"""Skills as users set them: switches, more folders, uploads and their limits; and the list while no worker runs."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shared.config.skills import SkillConfig, SkillSwitch
from tests.builders import Backend
from tests.support.wait import until


def stored(backend: Backend, owner: str = "local") -> dict[str, Any]:
    config = backend.store.user_configs.get(owner)[0]
    found: Any = config.get("skills", {})
    return dict(found)


def test_a_switch_is_kept_until_it_is_turned_back(backend: Backend) -> None:
    client, other = backend.connect(), backend.connect("other")
    path = "/work/.agents/skills/a/SKILL.md"

    for params in ({"name": "a", "enabled": False}, {"name": "a", "enabled": False}, {"path": path, "enabled": False}):
        assert client.call("skills/config/write", params) == {"effectiveEnabled": False}
    switches = [{"name": "a", "enabled": False}, {"path": path, "enabled": False}]
    assert stored(backend)["config"] == switches
    assert client.call("config/read")["config"]["skills"] == {"config": switches}
    assert "skills" not in other.call("config/read")["config"]
    for params in ({"name": "a", "enabled": True}, {"path": path, "enabled": True}):
        assert client.call("skills/config/write", params) == {"effectiveEnabled": True}

    assert stored(backend)["config"] == []
    assert "skills" not in client.call("config/read")["config"]


def test_a_user_turns_on_what_the_operator_turned_off(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(skills=SkillConfig(config=(SkillSwitch(False, name="a"),)))
    client = backend.connect()

    client.call("skills/config/write", {"name": "a", "enabled": True})
    assert stored(backend)["config"] == [{"name": "a", "enabled": True}]
    client.call("skills/config/write", {"name": "a", "enabled": False})
    assert stored(backend)["config"] == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"enabled": True}, "skills/config/write requires exactly one of path or name"),
        ({"name": "", "enabled": True}, "skills/config/write requires exactly one of path or name"),
        ({"name": "a", "path": "/b", "enabled": True}, "skills/config/write requires exactly one of path or name"),
        ({"path": "rel", "enabled": True}, "path: expected the absolute path of a SKILL.md"),
    ],
)
def test_a_switch_names_one_skill(backend: Backend, params: dict[str, Any], message: str) -> None:
    assert backend.connect().error("skills/config/write", params) == {"code": -32602, "message": message}


def test_switches_have_a_limit(backend: Backend) -> None:
    many = [{"name": f"s{number}", "enabled": False} for number in range(500)]
    backend.store.user_configs.change("local", lambda _: {"skills": {"config": many}}, None)

    assert "the limit" in backend.connect().error("skills/config/write", {"name": "a", "enabled": False})["message"]


def test_extra_roots_replace_those_before_and_all_connections_of_the_user_hear_it(backend: Backend) -> None:
    client, second, other = backend.connect(), backend.connect(), backend.connect("other")

    client.call("skills/config/write", {"name": "a", "enabled": False})
    client.call("skills/extraRoots/set", {"extraRoots": ["/a/skills/", "/a/skills", "/b"]})

    assert stored(backend) == {"config": [{"name": "a", "enabled": False}], "extra_roots": ["/a/skills", "/b"]}
    assert client.call("config/read")["config"]["skills"].keys() == {"config"}
    for one in (client, second):
        assert one.wait_for(lambda frame: frame.get("method") == "skills/changed")["params"] == {}
    assert [frame for frame in other.frames if frame.get("method") == "skills/changed"] == []
    client.call("skills/extraRoots/set", {"extraRoots": []})
    assert stored(backend)["extra_roots"] == []


@pytest.mark.parametrize("roots", [["rel"], ["/a/../b"], ["/a\0"], [""], ["/x"] * 17, ["/" + "x" * 5000]])
def test_extra_roots_are_absolute_and_few(backend: Backend, roots: list[str]) -> None:
    assert backend.connect().error("skills/extraRoots/set", {"extraRoots": roots})["code"] == -32602
    assert stored(backend) == {}


def test_without_a_worker_the_list_says_so(backend: Backend) -> None:
    listed = backend.connect().call("skills/list", {"cwds": ["/work", "x" * 5000]})["data"]

    assert [(entry["cwd"], entry["skills"]) for entry in listed] == [("/work", [])]
    assert listed[0]["errors"] == [{"path": "/work", "message": "the skills could not be read: no worker is running"}]
    assert backend.connect().call("skills/list", {"cwds": ["x" * 5000]}) == {"data": []}
    assert backend.calls == []


@pytest.mark.parametrize(
    ("skills", "data", "message"),
    [
        ({"per_user": 0}, b"", "takes no uploads"),
        ({"upload_bytes": 10}, b"x" * 16, "larger than 10 bytes"),
    ],
)
def test_uploads_have_limits(
    open_backend: Callable[..., Backend], skills: dict[str, Any], data: bytes, message: str
) -> None:
    backend = open_backend(skills=SkillConfig(**skills))

    error = backend.connect().error("skills/install", {"dataBase64": base64.b64encode(data).decode()})

    assert message in error["message"]
    assert backend.calls == []


def test_an_upload_and_a_removal_reach_a_worker_as_their_user(backend: Backend) -> None:
    client = backend.connect("ann")
    requests = [("skills/install", {"dataBase64": "eA=="}), ("skills/uninstall", {"name": "a"})]

    for method, params in requests:
        threading.Thread(target=client.reply, args=(method, params), daemon=True).start()
        until(lambda method=method: any(call[1] == method for call in backend.calls))

    assert [(kind, params, owner) for _, kind, params, owner in backend.calls] == [
        ("skills/install", {"data_base64": "eA=="}, "ann"),
        ("skills/uninstall", {"name": "a"}, "ann"),
    ]
