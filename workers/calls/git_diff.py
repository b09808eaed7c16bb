"""gitDiffToRemote: what differs between a working tree and the newest commit of it that the remote has.

git runs in a sandbox that may only read: a repository's configuration can name programs.
"""

from __future__ import annotations

from typing import Any

from shared.config import Config
from shared.errors import InvalidRequest
from workers.calls.area import area
from workers.calls.command_exec import policy
from workers.calls.running import RunningCall
from workers.sandbox.limits import CommandLimits
from workers.sandbox.process import run_to_end

GIT_SECONDS = 20.0
MAX_DIFF_BYTES = 8 * 1024 * 1024
READ_ONLY = {"type": "readOnly"}

# The first line is the commit. A file that git does not know yet is shown as one that is added.
SCRIPT = """
set -e
git() { command git -c core.fsmonitor=false -c core.hooksPath=/dev/null "$@"; }
cd "$(git rev-parse --show-toplevel)"
sha=
for ref in $(git rev-parse --abbrev-ref --symbolic-full-name '@{upstream}' 2>/dev/null || true) \\
           $(git for-each-ref --format='%(refname)' refs/remotes); do
    base=$(git merge-base HEAD "$ref" 2>/dev/null) || continue
    if [ -z "$sha" ] || git merge-base --is-ancestor "$sha" "$base"; then sha=$base; fi
done
[ -n "$sha" ]
echo "$sha"
git diff --no-color --no-ext-diff --no-textconv "$sha" --
git ls-files --others --exclude-standard -z | while IFS= read -r -d '' file; do
    git diff --no-color --no-ext-diff --no-textconv --no-index -- /dev/null "$file" || [ $? -eq 1 ]
done
"""


def run(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    """Takes: {"cwd": absolute path}; returns {"sha", "diff"}. Errors: InvalidRequest."""
    place = area(config, call.owner)
    cwd = place.cwd(params["cwd"])
    process = run_to_end(
        ["/bin/bash", "-c", SCRIPT],
        cwd=cwd,
        policy=policy(config, place, READ_ONLY, cwd),
        limits=CommandLimits(wall_seconds=GIT_SECONDS, output_bytes=2 * MAX_DIFF_BYTES),
        env={"GIT_OPTIONAL_LOCKS": "0"},
    )
    output = process.output
    if process.exit_code != 0 or output.total_bytes > MAX_DIFF_BYTES:
        raise InvalidRequest(f"failed to compute git diff to remote for cwd: {params['cwd']}")
    sha, _, diff = output.text().partition("\n")
    return {"sha": sha, "diff": diff}
