"""Build the image with buildah, from a Debian of this machine in the place of the base that the Dockerfile names."""

from __future__ import annotations

import configparser
import subprocess
import sys
from io import StringIO
from pathlib import Path

from tests.image.network import run

STAND_IN = "localhost/debian-stand-in"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PASSED_ON = {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries"}


class Builder:
    """Images of one test run. folder: for all that buildah stores."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        stored = [
            "--root",
            str(folder / "storage"),
            "--runroot",
            str(folder / "runroot"),
            "--storage-driver",
            "overlay",
        ]
        self._buildah = ["buildah", *stored]

    def import_base(self, root: Path) -> None:
        """Make an image of a folder."""
        archive = self._folder / "base.tar"
        run("tar", "--create", "--numeric-owner", "--xattrs", f"--file={archive}", f"--directory={root}", ".")
        container = run(*self._buildah, "from", "scratch").strip()
        run(*self._buildah, "add", "--quiet", container, archive, "/")
        run(*self._buildah, "commit", "--quiet", "--rm", container, STAND_IN)
        archive.unlink()

    def build(self, context: Path, dockerfile: Path, name: str) -> None:
        """Build an image; what it prints goes to this process's output. Errors: RuntimeError."""
        pip = self._folder / "pip.conf"
        pip.write_text(pip_settings())
        secrets = ["--secret", f"id=pip.conf,src={pip}", "--secret", f"id=ca-certificates.crt,src={CERTIFICATES}"]
        options = ["--isolation", "chroot", "--pull-never", "--layers=false", "--from", STAND_IN, *secrets]
        log = self._folder / "build.log"
        with log.open("w") as output:
            built = subprocess.run(
                [*self._buildah, "bud", *options, "--file", str(dockerfile), "--tag", name, str(context)],
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        pip.unlink()
        if built.returncode:
            raise RuntimeError(f"the build ended with {built.returncode}:\n{log.read_text()[-6000:]}")

    def described(self, name: str) -> str:
        """Return what buildah knows of an image, as JSON."""
        return run(*self._buildah, "inspect", "--type", "image", name)

    def mount(self, name: str) -> Path:
        """Return a folder with the files of an image."""
        container = run(*self._buildah, "from", "--pull-never", name).strip()
        return Path(run(*self._buildah, "mount", container).strip())

    def size(self, name: str) -> str:
        """Return the size of all layers, as `docker images` shows it: `345 MB`."""
        return run(*self._buildah, "images", "--format", "{{.Size}}", name).strip()


def pip_settings() -> str:
    """Return a pip.conf with the index that this environment uses, for the build only."""
    settings = configparser.RawConfigParser()
    settings["global"] = {"cert": str(CERTIFICATES)}
    for line in run(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        kept = [word for word in value.strip("'").split() if not word.startswith("file:")]
        if kept and (name := name.rpartition(".")[2]) in PASSED_ON:
            settings["global"][name] = "\n".join(kept)
    text = StringIO()
    settings.write(text)
    return text.getvalue()
