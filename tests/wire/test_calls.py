"""Requests that need a workspace: an API process receives them, and a worker carries them out."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import start_thread
from tests.support.wait import until

LONG = ["/bin/sh", "-c", "echo up; sleep 600"]
NO_HURRY = {"timeoutMs": 120_000}  # for a command with much input or output; the default is 10 s


@pytest.fixture(params=["sqlite"])  # the database does not matter in these tests
def shared_deployment(sqlite_deployment: Deployment) -> Deployment:
    return sqlite_deployment


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment of these tests alone: they kill its API process and its only worker."""
    with Deployment(tmp_path_factory.mktemp("calls")) as deployment:
        yield deployment


def begin(client: ProtocolClient, process_id: str, command: list[str], **params: Any) -> int:
    """Start a streamed command that keeps running. Return the id of the request once output has arrived."""
    asked = {"command": command, "processId": process_id, "streamStdoutStderr": True, "disableTimeout": True}
    request_id = client.send_request("command/exec", {**asked, **params})
    client.wait_for(lambda frame: is_output(frame, process_id))
    return request_id


def is_output(frame: dict[str, Any], process_id: str) -> bool:
    return frame.get("method") == "command/exec/outputDelta" and frame["params"]["processId"] == process_id


def output(client: ProtocolClient, process_id: str) -> bytes:
    """Return the output of a command so far."""
    deltas = [frame["params"] for frame in list(client.received) if is_output(frame, process_id)]
    return b"".join(base64.b64decode(delta["deltaBase64"]) for delta in deltas)


def write(client: ProtocolClient, process_id: str, text: str, **params: Any) -> None:
    delta = base64.b64encode(text.encode()).decode()
    client.request("command/exec/write", {"processId": process_id, "deltaBase64": delta, **params})


def processes_of(marker: str) -> list[str]:
    """Return the command lines on this host that contain a marker."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if marker in line:
            found.append(line)
    return found


def test_a_command_runs_in_the_requested_folder_and_environment(deployment: Deployment, tmp_path: Path) -> None:
    client = deployment.connect()

    result = client.request(
        "command/exec",
        {"command": ["/bin/sh", "-c", "pwd; echo $WHO >&2; exit 3"], "cwd": str(tmp_path), "env": {"WHO": "me"}},
    )

    assert result == {"exitCode": 3, "stdout": f"{tmp_path}\n", "stderr": "me\n"}


def test_git_commands_of_a_terminal_client_return_its_diff(deployment: Deployment, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "new.txt").write_text("hello\n")
    client = deployment.connect()

    def git(*words: str) -> dict[str, Any]:
        return client.request("command/exec", {"command": ["git", *words], "cwd": str(tmp_path), **NO_HURRY})

    assert git("rev-parse", "--is-inside-work-tree")["stdout"] == "true\n"
    assert git("ls-files", "--others", "--exclude-standard")["stdout"] == "new.txt\n"
    shown = git("diff", "--color", "--no-index", "--", "/dev/null", "new.txt")
    assert shown["exitCode"] == 1
    assert "+\x1b[m\x1b[32mhello" in shown["stdout"]


def test_a_command_runs_in_the_folder_of_a_thread_without_turns(deployment: Deployment) -> None:
    client = deployment.connect()
    cwd = client.request("thread/start")["thread"]["cwd"]

    assert client.request("command/exec", {"command": ["pwd"], "cwd": cwd})["stdout"] == f"{cwd}\n"


def test_a_terminal_accepts_input_a_resize_and_termination(deployment: Deployment) -> None:
    client = deployment.connect()
    script = "trap 'stty size' WINCH; echo up; while read -r line; do echo \"<$line>\"; stty size; done"
    request_id = begin(client, "tty", ["/bin/bash", "-c", script], tty=True, size={"rows": 10, "cols": 40})

    write(client, "tty", "hello\n")
    until(lambda: b"<hello>\r\n10 40" in output(client, "tty"))
    client.request("command/exec/resize", {"processId": "tty", "size": {"rows": 33, "cols": 99}})
    write(client, "tty", "again\n")
    until(lambda: b"33 99" in output(client, "tty"))
    client.request("command/exec/terminate", {"processId": "tty"})

    result = client.result(request_id)
    assert (result["stdout"], result["stderr"]) == ("", "")
    with pytest.raises(RpcError, match="no active command/exec for process id 'tty'") as refused:
        write(client, "tty", "more")
    assert refused.value.code == -32600


def test_input_sent_right_after_the_command_reaches_it_and_can_be_closed(deployment: Deployment) -> None:
    client = deployment.connect()
    asked = {"command": ["cat"], "processId": "cat", "streamStdin": True, "streamStdoutStderr": True, **NO_HURRY}
    request_id = client.send_request("command/exec", asked)
    data = bytes(range(256)) * 1000
    for start in range(0, len(data), 64_000):
        piece = base64.b64encode(data[start : start + 64_000]).decode()
        client.send_request("command/exec/write", {"processId": "cat", "deltaBase64": piece})
    client.send_request("command/exec/write", {"processId": "cat", "closeStdin": True})

    assert client.result(request_id) == {"exitCode": 0, "stdout": "", "stderr": ""}
    assert output(client, "cat") == data


def test_output_arrives_completely_and_in_order_before_the_result(deployment: Deployment) -> None:
    client = deployment.connect()
    asked = {"command": ["seq", "1000000"], "processId": "seq", "streamStdoutStderr": True, "disableOutputCap": True}

    assert client.request("command/exec", asked | NO_HURRY, 120)["exitCode"] == 0

    assert output(client, "seq") == b"".join(b"%d\n" % number for number in range(1, 1_000_001))


def test_reaching_the_output_cap_is_reported_once(deployment: Deployment) -> None:
    client = deployment.connect()
    asked = {
        "command": ["seq", "100000"],
        "processId": "cap",
        "streamStdoutStderr": True,
        "outputBytesCap": 10,
        **NO_HURRY,
    }

    assert client.request("command/exec", asked)["exitCode"] == 0
    assert client.request("command/exec", {"command": ["seq", "9999"], "outputBytesCap": 4})["stdout"] == "1\n2\n"

    assert output(client, "cap") == b"1\n2\n3\n4\n5\n"
    deltas = [frame["params"] for frame in client.received if is_output(frame, "cap")]
    assert [delta["capReached"] for delta in deltas].count(True) == 1


def test_a_command_ends_at_its_timeout(deployment: Deployment) -> None:
    client = deployment.connect()

    # Longer than the command needs for its output, even on a busy machine.
    result = client.request("command/exec", {"command": ["/bin/sh", "-c", "echo a; sleep 600"], "timeoutMs": 5000})

    assert result == {"exitCode": 124, "stdout": "a\n", "stderr": ""}


def test_a_slow_request_does_not_block_later_requests(deployment: Deployment) -> None:
    client = deployment.connect()
    request_id = begin(client, "slow", LONG)

    client.request("thread/list")
    assert client.request("command/exec", {"command": ["echo", "quick"]})["stdout"] == "quick\n"
    with pytest.raises(RpcError, match="duplicate active command/exec process id"):
        client.request("command/exec", {"command": ["true"], "processId": "slow"})

    client.request("command/exec/terminate", {"processId": "slow"})
    assert client.result(request_id)["exitCode"] != 0


def test_closing_a_connection_ends_its_commands(deployment: Deployment) -> None:
    client, other = deployment.connect(), deployment.connect()
    marker = f"left-{os.urandom(4).hex()}"
    begin(client, "left", ["/bin/sh", "-c", f"echo up; sleep 600; : {marker}"])
    with pytest.raises(RpcError, match="no active"):
        other.request("command/exec/terminate", {"processId": "left"})
    assert processes_of(marker)

    client.close()

    until(lambda: not processes_of(marker))


def test_the_worker_writes_reads_and_lists_files(deployment: Deployment, tmp_path: Path) -> None:
    client = deployment.connect()
    large = os.urandom(1024 * 1024)
    file = str(tmp_path / "a" / "b.bin")

    assert client.request("fs/createDirectory", {"path": str(tmp_path / "a")}) == {}
    assert client.request("fs/writeFile", {"path": file, "dataBase64": base64.b64encode(large).decode()}) == {}
    read = client.request("fs/readFile", {"path": file})
    client.request(
        "fs/copy", {"sourcePath": str(tmp_path / "a"), "destinationPath": f"{tmp_path}/c", "recursive": True}
    )
    client.request("fs/remove", {"path": str(tmp_path / "a")})

    assert base64.b64decode(read["dataBase64"]) == large
    assert client.request("fs/readDirectory", {"path": str(tmp_path)}) == {
        "entries": [{"fileName": "c", "isDirectory": True, "isFile": False}]
    }
    metadata = client.request("fs/getMetadata", {"path": f"{tmp_path}/c/b.bin"})
    assert metadata["isFile"]
    assert metadata["modifiedAtMs"] > 1_700_000_000_000
    assert deployment.http().call("fs/getMetadata", {"path": f"{tmp_path}/c/b.bin"}) == metadata


def test_no_client_can_read_the_files_of_the_server_itself(deployment: Deployment) -> None:
    client = deployment.connect()

    for path in (deployment.home / "config.toml", Path("/proc/self/environ")):
        with pytest.raises(RpcError, match="belongs to the server itself"):
            client.request("fs/readFile", {"path": str(path)})
    shown = client.request("command/exec", {"command": ["cat", str(deployment.home / "config.toml")]})
    assert shown["exitCode"] == 1
    assert "model" not in shown["stdout"]


def test_a_search_session_reports_results_for_the_newest_query(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    client = deployment.connect()

    client.request("fuzzyFileSearch/sessionStart", {"sessionId": "s", "roots": [str(tmp_path)]})
    for query in ("m", "ma", "mpy"):
        client.send_request("fuzzyFileSearch/sessionUpdate", {"sessionId": "s", "query": query})
    # An earlier query may be answered, too, if its search ends before the next query arrives.
    newest = client.wait_for(lambda frame: is_search_update(frame) and frame["params"]["query"] == "mpy")
    client.wait_for_method("fuzzyFileSearch/sessionCompleted", after=client.received.index(newest))
    client.request("fuzzyFileSearch/sessionStop", {"sessionId": "s"})

    updates = [frame["params"] for frame in list(client.received) if is_search_update(frame)]
    assert updates[-1]["query"] == "mpy"
    assert [found["path"] for found in updates[-1]["files"]] == ["main.py"]
    assert updates[-1]["files"][0]["indices"] == [0, 5, 6]
    with pytest.raises(RpcError, match="session not found"):
        client.request("fuzzyFileSearch/sessionUpdate", {"sessionId": "s", "query": "x"})


def is_search_update(frame: dict[str, Any]) -> bool:
    return frame.get("method") == "fuzzyFileSearch/sessionUpdated"


def test_a_call_fails_when_its_worker_is_killed(own: Deployment) -> None:
    client = own.connect()
    marker = f"lost-{os.urandom(4).hex()}"
    request_id = begin(client, "lost", ["/bin/sh", "-c", f"echo up; sleep 600; : {marker}"])

    own.workers[0].kill()

    with pytest.raises(RpcError, match="the worker was lost; the request may have taken effect") as lost:
        client.result(request_id)
    assert (lost.value.code, lost.value.data) == (-32001, None)
    until(lambda: not processes_of(marker))
    own.start_worker(own.workers[0])
    assert client.request("command/exec", {"command": ["echo", "back"]})["stdout"] == "back\n"


def test_a_call_fails_at_once_when_its_worker_shuts_down(own: Deployment) -> None:
    client = own.connect()
    request_id = begin(client, "drained", LONG)

    own.workers[0].stop()

    with pytest.raises(RpcError, match="the worker shut down"):
        client.result(request_id)  # a lost worker would be another error, after ten seconds
    own.start_worker(own.workers[0])


def test_killing_an_api_process_ends_its_commands(own: Deployment) -> None:
    client = own.connect()
    marker = f"orphan-{os.urandom(4).hex()}"
    begin(client, "orphan", ["/bin/sh", "-c", f"echo up; sleep 600; : {marker}"])

    own.api[0].kill()

    until(lambda: not processes_of(marker))
    own.api[0].start()
    own.api[0].wait_until(own.http().is_ready)
    start_thread(own.connect())
