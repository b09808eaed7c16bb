"""gitDiffToRemote: the difference between a working tree and its newest commit that the remote has.

git runs in a read-only sandbox without network, because a repository's configuration can name programs to run. Those
that git can do without are switched off. A filter that changes the content of files (`filter.NAME.clean`) runs in the
sandbox. Of a submodule, whose own settings git would follow, only the commit is compared.
"""

from __future__ import annotations

from typing import TypedDict

from shared.config import Config
from shared.errors import InvalidRequest
from shared.protocol.settings import READ_ONLY_POLICY
from workers.calls import client_command
from workers.calls.running import RunningCall
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.process import run_to_end
from workers.workspace.scope import workspace_scope

GIT_SECONDS = 20.0
MAX_DIFF_BYTES = 8 * 1024 * 1024

# Prints the commit on the first line, then the diff, which `git apply` takes whatever the repository's settings are. An
# untracked file is shown as an added one. A diff travels in JSON: a file whose lines are not UTF-8 is shown like a
# binary one, and only then the diff is made file by file, without renames.
SCRIPT = """
set -e
git() {
    command git -c core.fsmonitor=false -c core.hooksPath=/dev/null -c protocol.allow=never -c core.quotePath=false "$@"
}
compare() {
    git "${attributes[@]}" diff --no-color --no-ext-diff --no-textconv --binary --full-index --src-prefix=a/ \\
        --dst-prefix=b/ --submodule=short --ignore-submodules=dirty "$@" > /tmp/diff || [ $? -eq 1 ]
}
is_text() { iconv -f UTF-8 -t UTF-8 < /tmp/diff > /dev/null 2>&1 && tr -d '\\0' < /tmp/diff | cmp -s - /tmp/diff; }
show() {
    attributes=()
    compare "$@"
    if ! is_text; then
        attributes=(-c core.attributesFile=/tmp/attributes)
        compare "$@"
    fi
    cat /tmp/diff
}
echo '* -diff' > /tmp/attributes
ulimit -f "$MAX_KIB"
cd "$(git rev-parse --show-toplevel)"
sha=
for ref in $(git rev-parse --abbrev-ref --symbolic-full-name '@{upstream}' 2>/dev/null || true) \\
           $(git for-each-ref --format='%(refname)' refs/remotes); do
    base=$(git merge-base HEAD "$ref" 2>/dev/null) || continue
    if [ -z "$sha" ] || git merge-base --is-ancestor "$sha" "$base"; then sha=$base; fi
done
[ -n "$sha" ]
echo "$sha"
compare "$sha" --
if is_text; then
    cat /tmp/diff
else
    git diff --name-only --no-renames --ignore-submodules=dirty -z "$sha" -- | while IFS= read -r -d '' file; do
        show --no-renames "$sha" -- ":(top,literal)$file"
    done
fi
git ls-files --others --exclude-standard -z | while IFS= read -r -d '' file; do
    case "$file" in */) ;; *) show --no-index -- /dev/null "$file" ;; esac  # a folder is another repository
done
"""


class Params(TypedDict):
    """cwd: absolute path in the working tree."""

    cwd: str


class Result(TypedDict):
    """A commit, and the difference from it to the working tree."""

    sha: str
    diff: str


def run(config: Config, call: RunningCall, params: Params) -> Result:
    """Return the commit and the difference from it. Errors: InvalidRequest."""
    scope = workspace_scope(config, call.owner)
    cwd = scope.cwd(params["cwd"])
    process = run_to_end(
        CommandSpec(
            argv=["/bin/bash", "-c", SCRIPT],
            cwd=cwd,
            policy=client_command.policy_for(config, scope, READ_ONLY_POLICY, cwd),
            limits=CommandLimits(wall_seconds=GIT_SECONDS, output_bytes=2 * MAX_DIFF_BYTES),
            separate_stderr=True,
            env={"GIT_OPTIONAL_LOCKS": "0", "MAX_KIB": str(MAX_DIFF_BYTES // 1024)},
        )
    )
    output = process.output
    if process.exit_code != 0 or output.total_bytes > MAX_DIFF_BYTES:
        raise InvalidRequest(f"failed to compute git diff to remote for cwd: {params['cwd']}")
    sha, _, diff = output.text().partition("\n")
    return {"sha": sha, "diff": diff}
