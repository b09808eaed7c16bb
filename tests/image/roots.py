"""Debian as folders: the base of our image, and the programs that stand in for other images. Both are cached."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
MIRROR_SECONDS = 20
CACHED_DAYS = 7  # later, Debian has newer packages
SCRIPT = (
    "/usr/share/debootstrap/scripts/sid"  # that of each newer Debian, which an older debootstrap may not know by name
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# As debian:bookworm-slim: without documents and languages, and with nothing left in the cache.
SLIM = """
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
"""
APT = """
Acquire::Languages "none";
Acquire::Retries "3";
APT::Install-Recommends "0";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
"""
SOURCES = """
deb [signed-by={keyring}] {mirror} {release} main
deb [signed-by={keyring}] {mirror} {release}-updates main
deb [signed-by={keyring}] {mirror}-security {release}-security main
"""
UPGRADE = "apt-get update -qq && apt-get upgrade -qq --yes"


@dataclass(frozen=True)
class Root:
    """A Debian. script: what runs in it after the installation. files: path → text, written before that."""

    name: str
    release: str
    files: dict[str, str]
    script: str

    @property
    def key(self) -> str:
        """A name that changes with the recipe."""
        recipe = repr((self.release, self.files, self.script, SLIM, APT, SOURCES))
        return f"{self.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


BASE = Root("base", "bookworm", {}, UPGRADE)
# Debian 13's nginx is too old for `server … resolve`; that of the next Debian is not. Its mirror may be weeks behind.
SERVICES = Root(
    "services",
    "trixie",
    {
        "etc/apt/sources.list.d/forky.list": f"deb [check-valid-until=no signed-by={KEYRING}] {MIRROR} forky main\n",
        "etc/apt/preferences.d/forky": "Package: *\nPin: release n=forky\nPin-Priority: 100\n",
    },
    f"{UPGRADE} && apt-get install -qq --yes redis-server postgresql-17 tini busybox nginx/forky"
    " && ln -s /bin/busybox /usr/local/bin/wget",
)


class MirrorDown(Exception):
    """Debian's mirror does not answer."""


def check_mirror() -> None:
    """Errors: MirrorDown."""
    for release in (BASE.release, SERVICES.release):
        try:
            urllib.request.urlopen(f"{MIRROR}/dists/{release}/Release", timeout=MIRROR_SECONDS).close()
        except (OSError, urllib.error.URLError) as error:
            raise MirrorDown(f"{MIRROR} does not answer: {error}") from error


def prepare(cache: Path) -> tuple[Path, Path]:
    """Return the folders of BASE and SERVICES; what is not in the cache is made. Errors: RuntimeError."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        base, services = pool.map(lambda root: _cached(root, cache), (BASE, SERVICES))
    return base, services


def _cached(root: Root, cache: Path) -> Path:
    folder = cache / root.key
    if folder.exists() and time.time() - folder.stat().st_mtime > CACHED_DAYS * 86_400:
        shutil.rmtree(folder)
    if not folder.exists():
        for old in cache.glob(f"{root.name}-*"):
            shutil.rmtree(old)
        _make(root, cache / f"{root.name}-unfinished").rename(folder)
    return folder


def _make(root: Root, folder: Path) -> Path:
    print(f"image-test: installing Debian {root.release} for {root.name}", file=sys.stderr)
    _run("debootstrap", "--variant=minbase", "--include=ca-certificates", root.release, str(folder), MIRROR, SCRIPT)
    files = {
        "etc/apt/sources.list": SOURCES.format(keyring=KEYRING, mirror=MIRROR, release=root.release),
        "etc/apt/apt.conf.d/container": APT,
        "etc/dpkg/dpkg.cfg.d/container": SLIM,
        "etc/resolv.conf": Path("/etc/resolv.conf").read_text(),
        "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",  # no service starts when it is installed
        **root.files,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "usr/sbin/policy-rc.d").chmod(0o755)
    _run("env", "DEBIAN_FRONTEND=noninteractive", "chroot", str(folder), "sh", "-euc", root.script)
    _run("chroot", str(folder), "sh", "-euc", "cd /usr/share && rm -rf info/* locale/* man/* && apt-get clean")
    _run("find", f"{folder}/usr/share/doc", "!", "-type", "d", "!", "-name", "copyright", "-delete")
    _run("find", f"{folder}/var/lib/apt/lists", "-type", "f", "-delete")
    folder.touch()  # its age counts from now
    return folder


def _run(*arguments: str) -> None:
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
