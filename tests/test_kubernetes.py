"""Check the files for Kubernetes without a cluster: schemas, commands, settings, and that what they promise holds.

Each file is validated as it is, and so is what kustomize makes of a folder (`kubectl kustomize`, or `kustomize build`).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import psycopg
import pytest
import yaml
from sqlalchemy import update

from api.app import make_app
from api.cli import up, web
from shared import config
from shared.clock import now_ms
from shared.ids import new_id
from shared.queue import QUEUES
from shared.store import Store
from shared.store.tables import turns
from shared.store.workers import Worker
from tests.builders import Backend
from tests.shared.store.records import claim, end, park, queued, running
from tests.support import postgres
from tests.test_deploy import DOCKERFILE, parse
from workers import app as worker_process
from workers.runner import server as runner_server

Document = dict[str, Any]

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
BASE = FOLDER / "base"
TRIAL, PRODUCTION = FOLDER / "overlays" / "trial", FOLDER / "overlays" / "production"
OVERLAYS = [TRIAL, PRODUCTION]
VERSIONS = ("1.33", kubernetes_validate.latest_version())  # the oldest that will do, see base/runner.yaml; the newest
OF_KEDA = {"ScaledObject": {"scaleTargetRef", "triggers"}, "TriggerAuthentication": {"secretTargetRef"}}
WITH_PODS = ("Deployment", "StatefulSet", "Job")
SECRET_NAMES = re.compile(r"PASS|SECRET|TOKEN|KEY|AUTH|URL", re.IGNORECASE)
STAND_INS = {
    "THREADHOUSE_REDIS_URL": "redis://x",
    "THREADHOUSE_DATABASE_URL": "postgresql://x/x",
    "OPENAI_API_KEY": "x",
}


# -- what the files say


def read(file: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def resource_files() -> list[Path]:
    """Return the files of whole resources; the others are kustomizations and patches."""
    found = []
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        (content,) = read(kustomization)
        found += [path for name in content["resources"] if (path := kustomization.parent / name).is_file()]
    return sorted(found)


@cache
def rendered(overlay: Path) -> list[Document]:
    """Return the documents that kustomize makes of an overlay. Skips without kustomize; the files are validated too."""
    if kubectl := shutil.which("kubectl"):
        program = [kubectl, "kustomize"]
    elif kustomize := shutil.which("kustomize"):
        program = [kustomize, "build"]
    else:
        pytest.skip("the overlays are not rendered: install kubectl or kustomize")
    made = subprocess.run([*program, str(overlay)], capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 0, made.stderr
    return [document for document in yaml.safe_load_all(made.stdout) if document]


def named(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = (each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def pods(documents: list[Document]) -> dict[str, Document]:
    """Return name of the workload → spec of its pods."""
    templates = {each["metadata"]["name"]: each["spec"]["template"] for each in documents if each["kind"] in WITH_PODS}
    return {name: template["spec"] for name, template in templates.items()}


def ours(documents: list[Document]) -> dict[str, Document]:
    """Return the pods that run our image."""
    return {name: pod for name, pod in pods(documents).items() if any(is_ours(each) for each in containers(pod))}


def containers(pod: Document) -> list[Document]:
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def container(pod: Document, name: str) -> Document:
    (found,) = (each for each in containers(pod) if each["name"] == name)
    return found


def is_ours(of: Document) -> bool:
    return str(of["image"]).split("/")[-1].split(":")[0] == "threadhouse"


def threadhouse_arguments(of: Document) -> list[list[str]]:
    """Return the arguments of each `threadhouse` command that a container runs, in a shell or by itself."""
    words: list[str] = [*of.get("command", ["threadhouse"]), *of.get("args", [])]
    if words[0] == "sh":
        return [shlex.split(found) for found in re.findall(r"\bthreadhouse ([^;\n|&]+)", words[-1])]
    assert words[0] == "threadhouse" or (words[:3] == ["tini", "--", "threadhouse"] and "tini" in DOCKERFILE), words
    return [words[words.index("threadhouse") + 1 :]]


def every_container(node: object) -> Iterator[Document]:
    """Yield each container in a document or in a patch, which has no whole pod."""
    if isinstance(node, dict):
        if "image" in node and "name" in node and "securityContext" in node:
            yield node
        for value in node.values():
            yield from every_container(value)
    elif isinstance(node, list):
        for value in node:
            yield from every_container(value)


def check_schema(document: Document) -> None:
    if document["apiVersion"] == "keda.sh/v1alpha1":
        assert OF_KEDA[document["kind"]] <= document["spec"].keys()
        return
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


# -- schemas


@pytest.mark.parametrize("file", resource_files(), ids=lambda file: str(file.relative_to(FOLDER)))
def test_every_file_is_valid_by_itself(file: Path) -> None:
    documents = read(file)

    assert documents
    for document in documents:
        check_schema(document)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_what_kustomize_makes_is_valid(overlay: Path) -> None:
    for document in rendered(overlay):
        check_schema(document)
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "threadhouse"


def test_every_file_belongs_to_a_kustomization() -> None:
    used = set(resource_files())
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        (content,) = read(kustomization)
        used |= {kustomization.parent / patch["path"] for patch in content.get("patches", []) if "path" in patch}
        used.add(kustomization)

    assert set(FOLDER.rglob("*.yaml")) == used


# -- commands and images


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.yaml")), ids=lambda file: str(file.relative_to(FOLDER)))
def test_every_container_of_a_file_runs_an_existing_command(file: Path) -> None:
    for document in read(file):
        for each in every_container(document):
            for arguments in threadhouse_arguments(each) if is_ours(each) else []:
                parse(arguments)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_each_process_runs_and_every_queue_is_served(overlay: Path) -> None:
    found = {name: threadhouse_arguments(pod["containers"][0])[0] for name, pod in ours(rendered(overlay)).items()}
    served = [parse(arguments).params["queues"] for arguments in found.values() if arguments[0] == "worker"]

    assert {name: arguments[0] for name, arguments in found.items()} == {
        "api": "web",
        "worker": "worker",
        "background": "worker",
        "beat": "beat",
        "migrate": "migrate",
    }
    assert sorted(",".join(served).split(",")) == sorted(QUEUES)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_every_image_has_a_version(overlay: Path) -> None:
    images = {each["image"] for pod in pods(rendered(overlay)).values() for each in containers(pod)}

    assert all(re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", image) for image in images), images


# -- secrets and settings


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_secrets_are_references(overlay: Path) -> None:
    documents = rendered(overlay)

    assert not any(document["kind"] == "Secret" for document in documents)
    for pod in pods(documents).values():
        for each in containers(pod):
            for variable in each.get("env", []):
                secret = "secretKeyRef" in variable.get("valueFrom", {})
                assert secret == bool(SECRET_NAMES.search(variable["name"]) and variable["name"] != "PGDATA"), variable


def test_no_file_has_a_secret() -> None:
    for file in FOLDER.rglob("*.*"):
        text = "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("#"))
        assert "secretGenerator" not in text
        assert not re.search(r"://[^\s/$]*:[^\s/$]*@", text), file


@pytest.mark.parametrize("folder", [BASE, PRODUCTION], ids=lambda folder: folder.name)
def test_the_settings_are_valid(folder: Path) -> None:
    loaded = config.load(folder, STAND_INS)

    assert loaded.warnings == ()
    (patch,) = read(BASE / "runner.yaml")
    pod = patch["spec"]["template"]["spec"]
    runner = container(pod, "runner")
    assert parse(threadhouse_arguments(runner)[0]).params["path"] == loaded.server.tool_runner
    assert loaded.server.tool_runner is not None
    folders = container(pod, "folders")["command"][-1]
    assert f"/{loaded.server.tool_runner.parent.name}\n" in folders
    assert f"install -d -m 0700 {loaded.server.workspaces_dir}\n" in folders
    assert {str(loaded.server.workspaces_dir.parent), str(loaded.server.tool_runner.parent.parent)} <= {
        mount["mountPath"] for mount in runner["volumeMounts"]
    }


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_every_process_but_the_tool_runner_reads_the_settings(overlay: Path) -> None:
    documents = rendered(overlay)
    (settings,) = (document for document in documents if document["kind"] == "ConfigMap")
    source = PRODUCTION if overlay == PRODUCTION else BASE

    assert settings["data"] == {"config.toml": (source / "config.toml").read_text()}
    for pod in ours(documents).values():
        names = {volume["name"]: volume.get("configMap", {}).get("name") for volume in pod["volumes"]}
        assert names["config"] == settings["metadata"]["name"]
        for each in containers(pod):
            mounted = {mount["mountPath"] for mount in each["volumeMounts"]}
            runs_commands = each["name"] in ("runner", "folders")
            assert ("/var/lib/threadhouse/config.toml" in mounted) != runs_commands


# -- starts and ends


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_processes_that_need_the_schema_wait_for_it(overlay: Path) -> None:
    found = ours(rendered(overlay))

    assert named(rendered(overlay), "Job", "migrate")["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
    for name in ("api", "worker", "background"):
        assert threadhouse_arguments(container(found[name], "schema")) == [["migrate", "--check"]]


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_grace_periods_are_longer_than_the_drains(overlay: Path) -> None:
    found = ours(rendered(overlay))
    settings = config.load(PRODUCTION if overlay == PRODUCTION else BASE, STAND_INS)
    pause = container(found["api"], "api")["lifecycle"]["preStop"]["exec"]["command"]
    api_seconds = int(web._settings(settings, 1)["graceful_timeout"]) + int(pause[1])  # type: ignore[call-overload]
    # What is left to store, publish and report has three waits; the tool runner is stopped after its worker.
    worker_seconds = up.DRAIN_SECONDS + 3 * worker_process.STOP_SECONDS + web.TELEMETRY_SECONDS
    runner_seconds = runner_server.DRAIN_SECONDS + 2 * runner_server.GRACE_SECONDS

    assert found["api"]["terminationGracePeriodSeconds"] > api_seconds
    for name in ("worker", "background"):
        assert found[name]["terminationGracePeriodSeconds"] > worker_seconds + runner_seconds
        assert container(found[name], "runner")["restartPolicy"] == "Always", "only then it is stopped last"
    assert found["beat"]["terminationGracePeriodSeconds"] > web.TELEMETRY_SECONDS


# -- probes


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_the_api_is_asked_at_paths_and_a_port_that_exist(overlay: Path, backend: Backend) -> None:
    api = container(ours(rendered(overlay))["api"], "api")
    routes = {str(rule) for rule in make_app(backend.services).url_map.iter_rules()}
    ports = {port["name"]: port["containerPort"] for port in api["ports"]}

    probes = {name: api[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    for probe in probes.values():
        assert probe["path"] in routes
        assert ports[probe["port"]] == config.load(BASE, STAND_INS).server.port


@pytest.mark.parametrize("name", ["worker", "background"])
def test_a_worker_whose_file_gets_old_is_restarted(name: str, tmp_path: Path) -> None:
    (document,) = read(BASE / f"{name}.yaml")
    worker = container(document["spec"]["template"]["spec"], name)
    file = parse(threadhouse_arguments(worker)[0]).params["ready_file"]
    assert worker["startupProbe"]["exec"]["command"] == ["test", "-e", str(file)]

    def lives() -> bool:
        command = [
            word.replace(str(file), str(tmp_path / "ready")) for word in worker["livenessProbe"]["exec"]["command"]
        ]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0

    assert not lives()
    (tmp_path / "ready").touch()
    assert lives()
    old = now_ms() / 1000 - 300
    os.utime(tmp_path / "ready", (old, old))
    assert not lives()


# -- Pod security


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_all_containers_but_the_tool_runner_comply_with_restricted(overlay: Path) -> None:
    for name, pod in pods(rendered(overlay)).items():
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()
        assert pod["automountServiceAccountToken"] is False
        assert not any("hostPath" in volume for volume in pod.get("volumes", []))
        for each in containers(pod):
            effective = {**pod["securityContext"], **each["securityContext"]}
            assert effective["runAsNonRoot"] is True
            assert effective["allowPrivilegeEscalation"] is False
            assert effective["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in effective
            assert "limits" in each["resources"]
            if each["name"] != "runner":
                assert effective["seccompProfile"] == {"type": "RuntimeDefault"}, (name, each["name"])
                assert "procMount" not in effective
                assert "appArmorProfile" not in effective


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_the_tool_runner_has_what_bubblewrap_needs_and_no_secrets(overlay: Path) -> None:
    found = ours(rendered(overlay))
    user_ids = {name: int(number) for number, name in re.findall(r"--[ug]id (\d+) .*?([\w-]+) \\", DOCKERFILE)}

    assert [name for name, pod in found.items() if any(each["name"] == "runner" for each in containers(pod))] == [
        "background",
        "worker",
    ]
    for name in ("background", "worker"):
        pod, runner = found[name], container(found[name], "runner")
        security = runner["securityContext"]
        assert pod["hostUsers"] is False, "the API server refuses procMount: Unmasked otherwise"
        assert security["procMount"] == "Unmasked"
        assert security["seccompProfile"] == security["appArmorProfile"] == {"type": "Unconfined"}
        assert "env" not in runner
        assert "envFrom" not in runner
        assert security["runAsUser"] == user_ids["threadhouse-runner"]
        assert pod["securityContext"]["runAsUser"] == user_ids["threadhouse"]
        assert pod["securityContext"]["supplementalGroups"] == [user_ids["threadhouse-socket"]]
        options = parse(threadhouse_arguments(runner)[0]).params
        assert (options["worker"], options["group"]) == ("threadhouse", "threadhouse-socket")
        mounting = [each["name"] for each in containers(pod) if "workspaces" in str(each["volumeMounts"])]
        assert mounting == ["folders", "runner"]


# -- the network


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_pods_reach_only_what_a_policy_names(overlay: Path) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in rendered(overlay) if each["kind"] == "NetworkPolicy"}
    leaving = {name: spec["egress"] for name, spec in policies.items() if "egress" in spec}

    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert leaving.keys() == {"names", "model-providers", "to-stores"}
    (providers,) = leaving["model-providers"]
    assert [port["port"] for port in providers["ports"]] == [443]
    assert {"169.254.0.0/16", "10.0.0.0/8"} <= set(providers["to"][0]["ipBlock"]["except"])
    assert "api" not in str(policies["model-providers"]["podSelector"])
    assert {port["port"] for rule in leaving["to-stores"] for port in rule["ports"]} == {5432, 6379}
    assert all(rule["to"] for rules in leaving.values() for rule in rules), "an empty list allows everything"
    assert all(rule["from"] for spec in policies.values() for rule in spec.get("ingress", []))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_services_are_reachable_in_the_cluster_only(overlay: Path) -> None:
    documents = rendered(overlay)

    assert {each["spec"]["type"] for each in documents if each["kind"] == "Service"} == {"ClusterIP"}
    assert [each["metadata"]["name"] for each in documents if each["kind"] == "Ingress"] == (
        ["api"] if overlay == PRODUCTION else []
    )


# -- the trial


def test_the_trial_has_one_of_each_and_a_redis_that_keeps_everything() -> None:
    documents = rendered(TRIAL)
    (redis,) = pods(documents)["redis"]["containers"]
    words = " ".join(redis["args"])

    assert all(each["spec"].get("replicas", 1) == 1 for each in documents if each["kind"] in WITH_PODS)
    assert {"postgres", "redis"} == {each["metadata"]["name"] for each in documents if each["kind"] == "StatefulSet"}
    assert "--appendonly yes" in words
    assert "--maxmemory-policy noeviction" in words
    assert "--requirepass $(REDISCLI_AUTH)" in words, "what reaches the network of a worker must not reach Redis"
    assert named(documents, "PersistentVolumeClaim", "workspaces")["spec"]["accessModes"] == ["ReadWriteOnce"]


# -- production


def test_production_survives_the_loss_of_a_node() -> None:
    documents = rendered(PRODUCTION)
    replicas = {name: named(documents, "Deployment", name)["spec"].get("replicas") for name in ("background", "beat")}

    assert replicas == {"background": 2, "beat": 2}
    assert named(documents, "HorizontalPodAutoscaler", "api")["spec"]["minReplicas"] >= 2
    assert named(documents, "ScaledObject", "worker")["spec"]["minReplicaCount"] >= 2
    for name in ("api", "worker"):  # what scales them sets their number
        assert "replicas" not in named(documents, "Deployment", name)["spec"]
    for name in ("api", "worker", "background"):
        selector = named(documents, "PodDisruptionBudget", name)["spec"]["selector"]
        deployment = named(documents, "Deployment", name)["spec"]
        assert selector == deployment["selector"]
        assert {each["topologyKey"] for each in deployment["template"]["spec"]["topologySpreadConstraints"]} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
    assert named(documents, "PersistentVolumeClaim", "workspaces")["spec"]["accessModes"] == ["ReadWriteMany"]
    assert not any(document["kind"] == "StatefulSet" for document in documents)


def scaled_object() -> Document:
    found: Document = named(read(PRODUCTION / "scaling.yaml"), "ScaledObject", "worker")["spec"]
    return found


def trigger(name: str) -> Document:
    (found,) = (each for each in scaled_object()["triggers"] if each["name"] == name)
    return dict(found)


def test_workers_are_scaled_by_a_database_that_a_secret_names() -> None:
    documents = read(PRODUCTION / "scaling.yaml")
    (secret,) = named(documents, "TriggerAuthentication", "database")["spec"]["secretTargetRef"]

    assert scaled_object()["scaleTargetRef"] == {"name": "worker"}
    assert secret == {"parameter": "connection", "name": "threadhouse-scaler", "key": "database-url"}
    for name, kind in (("slots", "AverageValue"), ("age", "Value")):
        found = trigger(name)
        assert (found["type"], found["metricType"]) == ("postgresql", kind)
        assert found["authenticationRef"] == {"name": "database"}
        assert found["metadata"].keys() == {"query", "targetQueryValue"}


def test_the_queries_have_the_numbers_of_the_settings() -> None:
    settings = config.load(PRODUCTION, STAND_INS)

    assert f"coalesce(max(slots), {settings.server.worker_concurrency})" in trigger("slots")["metadata"]["query"]
    for name in ("slots", "age"):
        limit = f"coalesce({{}}user_limits.turns_at_once{{}}, {settings.limits.turns_at_once})"
        query = trigger(name)["metadata"]["query"]
        assert limit.format("", "") in query or limit.format("min(", ")") in query


@pytest.fixture
def store() -> Iterator[Store]:
    url = postgres.create_database()
    made = Store(url, {})
    yield made
    made.close()
    postgres.drop_database(url)


def ask(store: Store, name: str) -> int:
    """Run the query of a trigger as KEDA does: as a role that reads what README.md of deploy/ grants."""
    grants = re.search(r"GRANT SELECT ON .* TO threadhouse_scaler", (ROOT / "deploy" / "README.md").read_text())
    assert grants is not None
    url = store.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        role = f"scaler_{new_id()[-12:]}"
        connection.execute(f"CREATE ROLE {role}".encode())
        connection.execute(grants[0].replace("threadhouse_scaler", role).encode())
        connection.execute(f"SET LOCAL ROLE {role}".encode())
        (row,) = connection.execute(trigger(name)["metadata"]["query"]).fetchall()
        connection.rollback()  # a role belongs to all databases of the server
    (value,) = row
    assert type(value) is int
    return value


def set_queued_at(store: Store, turn_id: str, at_ms: int) -> None:
    with store.database.write() as connection:
        connection.execute(update(turns).where(turns.c.id == turn_id).values(queued_at_ms=at_ms))


def test_workers_are_scaled_by_the_slots_that_turns_take_or_want(store: Store) -> None:
    assert ask(store, "slots") == 0
    queued(store)
    assert ask(store, "slots") == 1, "1 of 200, rounded up: no worker has reported its slots"
    store.workers.report(Worker("host:1:abc", "host", 1, "0.2.0", ["calls", "turns"], 4))
    store.workers.report(Worker("host:2:abc", "host", 2, "0.2.0", ["background", "feedback"], 100))
    assert ask(store, "slots") == 25

    running(store, "bob")  # it claims the turn that was first
    assert ask(store, "slots") == 50
    end(store, running(store, "cid"))
    park(store, claim(store))
    assert ask(store, "slots") == 25, "ended and parked turns occupy no slot"


def test_turns_over_their_users_limit_ask_for_no_worker(store: Store) -> None:
    store.workers.report(Worker("host:1:abc", "host", 1, "0.2.0", ["calls", "turns"], 10))
    first = running(store, "ann")
    waiting = [queued(store, "ann") for _ in range(12)]
    set_queued_at(store, waiting[0].id, now_ms() - 60_000)
    assert ask(store, "slots") == 80, "8 of 13 may run by [limits] turns_at_once"
    assert ask(store, "age") >= 60

    store.limits.change("ann", {"turns_at_once": 1})
    assert ask(store, "slots") == 10
    assert ask(store, "age") == 0
    store.limits.change("ann", {"turns_at_once": 0})
    assert ask(store, "slots") == 130, "0 is no limit"
    assert ask(store, "age") >= 60
    store.limits.change("ann", {"turns_at_once": 1})
    end(store, first)
    assert ask(store, "age") >= 60


def test_workers_are_scaled_by_the_age_of_the_oldest_turn_that_could_run(store: Store) -> None:
    assert ask(store, "age") == 0
    turn = queued(store)
    set_queued_at(store, turn.id, now_ms() + 60_000)
    assert ask(store, "age") == 0, "the clock of a process that is ahead makes no negative age"
    set_queued_at(store, turn.id, now_ms() - 90_000)
    assert 90 <= ask(store, "age") < 300
    claim(store)
    assert ask(store, "age") == 0


@pytest.mark.parametrize(
    ("name", "indexes"), [("slots", {"turns_waiting", "turns_running"}), ("age", {"turns_waiting"})]
)
def test_the_queries_read_no_turns_that_are_done(store: Store, name: str, indexes: set[str]) -> None:
    url = store.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        connection.execute("SET enable_seqscan = off")  # it is cheaper for an empty table
        rows = connection.execute(f"EXPLAIN {trigger(name)['metadata']['query']}".encode()).fetchall()
    plan = "\n".join(row[0] for row in rows)

    assert "Seq Scan on turns" not in plan
    assert all(f"using {index}" in plan or f"on {index}" in plan for index in indexes), plan
