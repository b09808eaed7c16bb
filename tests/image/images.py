"""What containers start from: our image, and Debian's programs in the place of the images of others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# As the image does at its first start: the server that creates the database listens on its Unix socket only.
POSTGRES = r"""
set -eu
export PGDATA=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
    install -d -o postgres -g postgres -m 0700 "$PGDATA"
    exec setpriv --reuid postgres --regid postgres --init-groups sh -c "$START"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" > /tmp/password
    initdb --username "$POSTGRES_USER" --pwfile /tmp/password --auth-local trust --auth-host scram-sha-256 \
        --encoding UTF8 --locale C.UTF-8 --no-sync
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options "-c listen_addresses=''" start
    createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --wait stop
fi
exec postgres -c listen_addresses='*'
"""
# The image turns protected mode off, and Debian's Redis does not.
REDIS = """
chown redis /data && cd /data && exec setpriv --reuid redis --regid redis --init-groups "$@" --protected-mode no
"""


@dataclass(frozen=True)
class Image:
    """root: folder of its files, which no container changes. command: what follows the entry point by default."""

    root: Path
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    folder: str = "/"
    stop_signal: str = "SIGTERM"
    path: str = PATH


def from_description(root: Path, described: dict[str, Any]) -> Image:
    """Return the image that buildah describes (`buildah inspect --type image`). root: where it is mounted."""
    config = described["OCIv1"]["config"]
    environment = dict(entry.split("=", 1) for entry in config.get("Env", []))
    return Image(
        root,
        tuple(config.get("Entrypoint", [])),
        tuple(config.get("Cmd", [])),
        environment,
        config.get("User") or "root",
        config.get("WorkingDir") or "/",
        config.get("StopSignal") or "SIGTERM",
        environment.get("PATH", PATH),
    )


def stand_ins(services_root: Path) -> dict[str, Image]:
    """Return name of an image, without tag → what stands in for it."""
    binaries = next((services_root / "usr/lib/postgresql").iterdir()).relative_to(services_root)
    return {
        "nginx": Image(services_root, command=("nginx", "-g", "daemon off;"), stop_signal="SIGQUIT"),
        "redis": Image(services_root, entrypoint=("sh", "-euc", REDIS, "sh")),
        "postgres": Image(
            services_root,
            entrypoint=("sh", "-c", POSTGRES),
            environment={"START": POSTGRES},
            stop_signal="SIGINT",
            path=f"/{binaries}/bin:{PATH}",
        ),
    }
