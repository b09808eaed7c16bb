"""Let the API processes of a deployment wait for a worker as long as a busy machine takes.

A thread begins without the answer of a worker that needs more than a second (`api/requests/instructions.py`). A test of
that answer must not depend on how fast the machine is.
"""

from __future__ import annotations

from pathlib import Path

# Python imports a module of this name at its start.
SITECUSTOMIZE = """
import sys
from importlib.machinery import PathFinder

class Patient:
    def find_spec(self, name, path=None, target=None):
        if name != "api.requests.instructions":
            return None
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_patient(module):
            load(module)
            assert module.SECONDS == 1.0, "tests/support/slow_answers.py: this is not the deadline"
            module.SECONDS = 60.0

        spec.loader.exec_module = load_patient
        return spec

sys.meta_path.insert(0, Patient())
"""


def awaited(folder: Path) -> dict[str, str]:
    """Return an environment for the processes of a deployment. folder: an empty one, for a file that they read."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return {"PYTHONPATH": str(folder)}
