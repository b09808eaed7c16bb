"""Networks as compose.yaml asks for them: a bridge each, a network namespace and a name server for each container."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP

from tests.support.wait import until

NAME_SERVER = "127.0.0.11"  # where Docker's is, and where nginx.conf looks for it


def run(*arguments: str | Path) -> str:
    """Run a program. Return its output. Errors: RuntimeError with what it printed."""
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass
class Attached:
    """A container's place in its networks. names: what others find it by. addresses: network → address."""

    namespace: Path
    names: tuple[str, ...]
    addresses: dict[str, str]
    name_server: subprocess.Popen[bytes] | None = None


class Networks:
    """All networks of a deployment, in the network namespace of this process.

    Packets of a network reach its members and this process, as its gateway; nothing is forwarded.
    """

    def __init__(self, names: tuple[str, ...], folder: Path) -> None:
        self._folder = folder
        self._attached: dict[str, Attached] = {}
        self._addresses: dict[tuple[str, str], str] = {}  # a container that starts again has the address that it had
        self._lock = threading.Lock()
        self._subnets = {name: f"172.30.{number}" for number, name in enumerate(names)}
        self._bridges = {name: f"bridge{number}" for number, name in enumerate(names)}
        for name, bridge in self._bridges.items():
            run("ip", "link", "add", bridge, "type", "bridge")
            run("ip", "address", "add", f"{self.gateway(name)}/24", "dev", bridge)
            run("ip", "link", "set", bridge, "up")

    def gateway(self, network: str) -> str:
        return f"{self._subnets[network]}.1"

    def attach(self, container: str, networks: tuple[str, ...], names: tuple[str, ...]) -> Attached:
        """Make a network namespace with a connection to each network."""
        namespace = self._folder / f"{container}.net"
        namespace.touch()
        run("unshare", f"--net={namespace}", "true")
        addresses = {network: self._address(container, network) for network in networks}
        for number, (network, address) in enumerate(addresses.items()):
            outside, inside = _device(address), f"eth{number}"
            run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", namespace)
            run("ip", "link", "set", outside, "master", self._bridges[network], "up")
            run("nsenter", f"--net={namespace}", "ip", "address", "add", f"{address}/24", "dev", inside)
            run("nsenter", f"--net={namespace}", "ip", "link", "set", inside, "up")
        run("nsenter", f"--net={namespace}", "ip", "link", "set", "lo", "up")
        attached = Attached(namespace, names, addresses)
        with self._lock:
            self._attached[container] = attached
            self._write_names()
        attached.name_server = self._start_name_server(container, attached)
        return attached

    def detach(self, container: str) -> None:
        """Remove the namespace and its addresses, as the end of a container does."""
        with self._lock:
            attached = self._attached.pop(container)
            self._write_names()
        if attached.name_server is not None:
            attached.name_server.kill()
            attached.name_server.wait()
        for address in attached.addresses.values():  # the kernel would remove it, too, but later
            run("ip", "link", "delete", _device(address))
        run("umount", attached.namespace)
        attached.namespace.unlink()

    def _address(self, container: str, network: str) -> str:
        number = len(self._addresses) + 2  # 1 is the gateway
        return self._addresses.setdefault((container, network), f"{self._subnets[network]}.{number}")

    def _write_names(self) -> None:
        """Write for each network who is in it, and let the name servers read it again."""
        for network in self._subnets:
            lines = [
                f"{attached.addresses[network]} {' '.join(attached.names)}\n"
                for attached in self._attached.values()
                if network in attached.addresses
            ]
            self._names_of(network).write_text("".join(lines))
        for attached in self._attached.values():
            if attached.name_server is not None:
                attached.name_server.send_signal(SIGHUP)

    def _names_of(self, network: str) -> Path:
        return self._folder / f"{network}.hosts"

    def _start_name_server(self, container: str, attached: Attached) -> subprocess.Popen[bytes]:
        hosts = [f"--addn-hosts={self._names_of(network)}" for network in attached.addresses]
        ready = self._folder / f"{container}.dns"
        ready.unlink(missing_ok=True)
        options = ["--no-hosts", "--no-resolv", "--local=/#/", "--local-ttl=0", f"--pid-file={ready}", "--user=root"]
        listen = [
            "--bind-interfaces",
            f"--listen-address={NAME_SERVER}",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
        ]
        server = subprocess.Popen(
            ["nsenter", f"--net={attached.namespace}", "dnsmasq", *options, *listen, *hosts], stdin=subprocess.DEVNULL
        )
        until(ready.exists)  # before that, SIGHUP would end it
        return server


def _device(address: str) -> str:
    """Return the name of the end of a connection that is in the bridge."""
    return f"v{address.removeprefix('172.30.')}"
