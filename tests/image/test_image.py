"""The image: its size, its users, and what it contains and must not contain."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.image import building, runtime
from tests.image.images import Image

ROOT = Path(__file__).parents[2]
MAX_MEGABYTES = 350
COMPILERS = re.compile(
    r"(?:.+-)?(?:as|ar|c\+\+|c89|c99|cargo|cc|clang|cpp|g\+\+|gcc|gfortran|go|javac|ld|make|nvcc|rustc|tcc)(?:-[\d.]+)?"
)
CONSOLE, BUILT = "api/console/", "api/console/dist/"  # of the console only what is built is installed
PACKAGES = "/opt/threadhouse/lib/python3.11/site-packages"
INSTALLED = """
import importlib.metadata, re
for found in importlib.metadata.distributions():
    print(re.sub("[-_.]+", "-", found.name).lower() + "==" + found.version)
"""


def in_image(image: Image, *arguments: str) -> str:
    """Run a program of the image as its user. Return what it printed."""
    command = ["chroot", f"--userspec={image.user}", str(image.root), "env", f"PATH={image.path}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def files(image: Image) -> list[Path]:
    return [Path(folder) / name for folder, _, names in os.walk(image.root) for name in names]


def test_the_image_is_small(work: Path, image: Image) -> None:
    once = {(info.st_dev, info.st_ino): info.st_size for info in map(Path.lstat, files(image))}  # hard links
    megabytes = sum(once.values()) / 1e6
    print(f"\nimage: {megabytes:.0f} MB of files, {(work / 'image.size').read_text()} as layers")

    assert megabytes <= MAX_MEGABYTES


def test_the_image_has_no_compiler_and_no_installer(image: Image) -> None:
    programs = [file for file in files(image) if "bin" in file.parent.parts and file.lstat().st_mode & 0o111]

    assert len(programs) > 100
    assert [file.name for file in programs if COMPILERS.fullmatch(file.name)] == []
    assert [file.name for file in programs if file.name.startswith("pip")] == []
    assert not (image.root / PACKAGES.lstrip("/") / "pip").exists()


def test_the_image_runs_as_a_user_without_rights(image: Image) -> None:
    uid, gid, groups, _ = runtime.identity(image.root, image.user)
    runner, _, runner_groups, _ = runtime.identity(image.root, "threadhouse-runner")

    assert (uid, gid, runner) == (10001, 10001, 10002)  # Kubernetes' manifests have these numbers
    assert groups == runner_groups == [10003]
    writable = [path for path in image.root.rglob("*") if not path.is_symlink() and path.stat().st_uid in (uid, runner)]
    allowed = ("home", "var/lib/threadhouse", "srv/threadhouse/workspaces", "run/threadhouse")
    outside = [str(path) for path in writable if not str(path.relative_to(image.root)).startswith(allowed)]
    assert outside == []


def test_nobody_may_change_the_programs_of_the_image(image: Image) -> None:
    for place in ("opt", "usr", "etc"):
        loose = [
            path
            for path in (image.root / place).rglob("*")
            if not path.is_symlink() and (path.stat().st_mode & stat.S_IWOTH or path.stat().st_uid)
        ]
        assert loose == []


def test_the_python_packages_are_those_of_the_lock_file(image: Image) -> None:
    installed = set(in_image(image, "python", "-c", INSTALLED).split())
    locked = re.findall(r"^(\S+?==\S+)(?: ; (.+?))? \\$", (ROOT / "deploy/requirements.txt").read_text(), re.MULTILINE)

    ours = {package for package in installed if package.startswith("threadhouse==")}
    assert len(ours) == 1
    assert installed - ours <= {package for package, _ in locked}
    assert {package for package, marker in locked if not marker} <= installed
    in_image(image, "python", "-c", "import opentelemetry.exporter.otlp.proto.grpc, prometheus_client")


def test_the_installed_package_has_all_files_of_the_sources(image: Image) -> None:
    listed = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "api",
        "shared",
        "workers",
    ]
    tracked = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    wanted = [
        name for name in tracked if not name.startswith(CONSOLE) or name.startswith(BUILT) or name.endswith(".py")
    ]
    missing = [name for name in wanted if not (image.root / PACKAGES.lstrip("/") / name).exists()]

    assert len(wanted) > 300
    assert missing == []


def test_the_list_of_parts_names_every_python_package(image: Image) -> None:
    parts = json.loads((image.root / "opt/threadhouse/sbom.cdx.json").read_text())

    assert parts["bomFormat"] == "CycloneDX"
    named = {re.sub(r"[-_.]+", "-", part["name"]).lower() + f"=={part['version']}" for part in parts["components"]}
    named.add(f"{parts['metadata']['component']['name']}=={parts['metadata']['component']['version']}")
    assert named == set(in_image(image, "python", "-c", INSTALLED).split())
    assert all(part["purl"].startswith("pkg:pypi/") for part in parts["components"])


def test_the_build_leaves_no_settings_of_its_package_index(work: Path, image: Image) -> None:
    described = (work / "image.json").read_text() + (image.root / "opt/threadhouse/sbom.cdx.json").read_text()
    private = [
        host
        for host in re.findall(r"https?://([^/\s]+)", building.pip_settings())
        if not host.endswith(("pypi.org", "pythonhosted.org"))
    ]

    assert not (image.root / "etc/pip.conf").exists()
    assert [host for host in private if host in described] == []
    assert (image.root / "etc/ssl/certs/ca-certificates.crt").stat().st_size != building.CERTIFICATES.stat().st_size


@pytest.mark.parametrize("program", ["bwrap", "git", "rg", "tini", "threadhouse"])
def test_the_image_has_the_programs_that_are_needed(image: Image, program: str) -> None:
    assert in_image(image, program, "--version")
