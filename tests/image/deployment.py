"""A running deployment of compose.yaml: what `docker compose` does with run, up, kill, stop and down."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from tests.image.compose import Mount, Project, Service
from tests.image.container import Container, Place
from tests.image.images import Image
from tests.image.network import Networks
from tests.image.runtime import Bind

START_SECONDS = 180  # for each service, on a machine however busy
RESTART_SECONDS = 0.2  # how often it looks for containers to restart


class Deployment:
    """The containers of a project; a context manager, which ends all of them.

    images:  name of an image, with or without its tag → what containers start from
    folder:  for files, volumes and logs; its name is part of the names of control groups
    """

    def __init__(self, project: Project, images: dict[str, Image], folder: Path) -> None:
        self.project = project
        self.networks = Networks(project.networks, folder)
        self.containers: dict[str, list[Container]] = {}
        self._images = images
        self._folder = folder
        self._place = Place(folder, self.networks, images["redis"].root / "usr/bin/tini-static", f"/{folder.name}")
        self._published: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()  # one thing at a time starts or ends containers
        self._closed = threading.Event()
        self._runs = 0

    def __enter__(self) -> Deployment:
        threading.Thread(target=self._restart_ended, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for started in self.all():
            with suppress(RuntimeError):  # it ends by itself meanwhile
                if not started.has_ended():
                    started.kill()
        for process in self._published:
            process.kill()
            process.wait()

    def all(self) -> list[Container]:
        return [container for containers in self.containers.values() for container in containers]

    def up(self) -> None:
        """Start all services in the order of their dependencies, and wait until all with a health check are healthy."""
        for service in self.project.in_order():
            self._start(service)
        for service in self.project.services.values():
            self._wait(service.name, "service_healthy" if service.health else "service_started")
            self._publish(service)

    def run(self, name: str, *arguments: str) -> str:
        """Run a command in a container of its own, after what the service depends on. Return what it printed."""
        service = self.project.services[name]
        for other in self.project.in_order():
            if other.name in self._needed(service):
                self._start(other)
        self._wait_for_needed(service)
        once = self._make(dataclasses.replace(service, health=None, restarts=False), f"run{self._runs}", arguments)
        self._runs += 1
        with self._lock:
            once.start()
        code = once.wait(START_SECONDS)
        printed = once.log.read_text()
        once.remove()
        assert code == 0, printed
        return printed

    def one_off(self, service: Service, *arguments: str) -> Container:
        """Start a container of a service that differs from the file. The caller kills it."""
        self._runs += 1
        once = self._make(service, f"run{self._runs}", arguments)
        with self._lock:
            once.start()
        return once

    def kill(self, container: Container) -> None:
        """End a container at once. It does not restart by itself: `start_again` does that."""
        with self._lock:
            self.containers[container.service.name].remove(container)
            container.kill()

    def stop(self, container: Container) -> tuple[int, float]:
        """Stop a container as Docker does. Return its exit code and the seconds that it took."""
        with self._lock:
            self.containers[container.service.name].remove(container)
        return container.stop()

    def start_again(self, container: Container) -> None:
        """Start a container that was killed or stopped, and wait until it is healthy."""
        with self._lock:
            container.start()
            self.containers[container.service.name].append(container)
        if container.service.health:
            container.wait_until_healthy(START_SECONDS)

    def down(self) -> dict[str, tuple[int, float]]:
        """Stop all containers, each service before those that it depends on. Return name → exit code and seconds."""
        return {
            container.name: self.stop(container)
            for service in reversed(self.project.in_order())
            for container in list(self.containers.get(service.name, ()))
            if not container.has_ended()
        }

    def _needed(self, service: Service) -> set[str]:
        """Return the services that a service depends on, through others as well."""
        found: set[str] = set()
        for other in service.depends_on:
            found |= {other} | self._needed(self.project.services[other])
        return found

    def _start(self, service: Service) -> None:
        """Start a service, unless it was started, when what it depends on is as it asks."""
        if service.name in self.containers:
            return
        self._wait_for_needed(service)
        made = [self._make(service, number + 1, ()) for number in range(service.replicas)]
        with self._lock:
            for container in made:
                container.start()
            self.containers[service.name] = made

    def _wait_for_needed(self, service: Service) -> None:
        for other, condition in service.depends_on.items():
            self._wait(other, condition)

    def _wait(self, name: str, condition: str) -> None:
        for container in self.containers[name]:
            if condition == "service_completed_successfully":
                code = container.wait(START_SECONDS)
                assert code == 0, f"{container.name} ended with {code}:\n{container.tail()}"
            elif condition == "service_healthy":
                container.wait_until_healthy(START_SECONDS)

    def _make(self, service: Service, number: int | str, command: tuple[str, ...]) -> Container:
        image = self._images.get(service.image) or self._images[service.image.partition(":")[0]]
        binds = [self._bind(mount, image) for mount in service.mounts]
        return Container(service, number, image, binds, self._place, command=command or None)

    def _bind(self, mount: Mount, image: Image) -> Bind:
        if not mount.is_volume:
            return Bind(Path(mount.source), mount.target, mount.read_only)
        volume = self._folder / "volumes" / mount.source
        if not volume.exists():  # a new volume has the files of the image, with their owners
            volume.parent.mkdir(exist_ok=True)
            inside = image.root / mount.target.lstrip("/")
            if inside.is_dir():
                subprocess.run(["cp", "--archive", str(inside), str(volume)], check=True)
            else:
                volume.mkdir()
        return Bind(volume, mount.target, mount.read_only)

    def _publish(self, service: Service) -> None:
        """Pass connections to the ports of this host on to the service."""
        for port in service.ports:
            host, outside, inside = port.split(":")
            listen = f"TCP-LISTEN:{outside},bind={host},reuseaddr,fork"
            target = f"TCP:{self.containers[service.name][0].address}:{inside}"
            self._published.append(subprocess.Popen(["socat", listen, target], stdin=subprocess.DEVNULL))

    def _restart_ended(self) -> None:
        """Restart containers that have ended by themselves and are to restart."""
        while not self._closed.wait(RESTART_SECONDS):
            with self._lock:
                for container in self.all():
                    if container.service.restarts and container.has_ended() and not self._closed.is_set():
                        container.remove()
                        container.start()
