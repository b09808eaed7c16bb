"""Shell scripts that run in the sandbox: they make a workspace, and read what became of it.

git reads no configuration there except that of its own repository, and never the workspace's. Only names, contents and
modes are taken from the workspace, so that nothing in it (hooks, filters, attributes, includes) is run or changes a
byte. Folders named `.git` and empty folders are left out.
"""

from __future__ import annotations

ENVIRONMENT = {
    "HOME": "/tmp",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_AUTHOR_NAME": "Threadhouse",
    "GIT_AUTHOR_EMAIL": "threadhouse@localhost",
    "GIT_COMMITTER_NAME": "Threadhouse",
    "GIT_COMMITTER_EMAIL": "threadhouse@localhost",
}
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's id of a tree without files

# Variables of all scripts: TREE is the new workspace, IN the folder with its input, START the git store of the files as
# they were. Exit code 3: too large; standard output says why.
_CHECK_SIZE = """
too_large() {
    echo "the workspace would have $1 files and folders and $2 bytes; this server allows $MAX_ENTRIES and $MAX_BYTES"
    exit 3
}
within() { [ "$1" -le "$MAX_ENTRIES" ] && [ "$2" -le "$MAX_BYTES" ] || too_large "$1" "$2"; }
"""

# Variables: SHA; BRANCH or "", TAG or "", URL
CLONE = (
    _CHECK_SIZE
    + """
set -eu
git init -q --template= "$TREE"
cd "$TREE"
cat "$IN"/pack/* | git index-pack --stdin --max-input-size="$MAX_BYTES" >/dev/null
if [ -d "$IN/shallow" ]; then cat "$IN"/shallow/* > .git/shallow; fi
within $(git ls-tree -r -t -l "$SHA" | awk '{ n++; if ($4 ~ /^[0-9]+$/) b += $4 } END { printf "%d %.0f", n, b }')
git config remote.origin.url "$URL"
git config remote.origin.fetch "+refs/heads/*:refs/remotes/origin/*"
if [ -n "$TAG" ]; then git update-ref "refs/tags/$TAG" "$OBJECT"; fi
if [ -n "$BRANCH" ]; then
    git update-ref "refs/remotes/origin/$BRANCH" "$SHA"
    git update-ref "refs/heads/$BRANCH" "$SHA"
    git symbolic-ref HEAD "refs/heads/$BRANCH"
    git config "branch.$BRANCH.remote" origin
    git config "branch.$BRANCH.merge" "refs/heads/$BRANCH"
else
    git update-ref --no-deref HEAD "$SHA"
fi
git -c core.hooksPath=/dev/null -c core.symlinks=true reset -q --hard
git init -q --bare --template= "$START"
cp -r .git/objects/pack "$START/objects/"
"""
)

# Unpacks a tar of our own that has nothing that leads out; see workers.sources.archive.
UNPACK = """
set -eu
mkdir "$TREE"
cat "$IN"/tar/* | tar -x -f - -C "$TREE" --no-same-owner
git init -q --bare --template= "$START"
"""

# Variables: FROM, the workspace to copy. Links stay links.
COPY = (
    _CHECK_SIZE
    + """
set -eu
within $(find "$FROM" -mindepth 1 -printf '%s\\n' | awk '{ n++; b += $1 } END { printf "%d %.0f", n, b }')
cp -a --reflink=auto "$FROM" "$TREE"
git init -q --bare --template= "$START"
"""
)

# For the current folder: W is a temporary folder, GIT_DIR the repository that gets the objects.
_SNAPSHOT = """
raw() { printf '* -text !eol -ident !filter !working-tree-encoding !diff\\n' > "$GIT_DIR/info/attributes"; }
list() { find . -mindepth 1 -name .git -prune -o \\( -type f -o -type l \\) -printf '%P\\0' | sort -z; }
"""

# Stores all files as they are in START; prints the id of the tree at the end.
KEEP = (
    _SNAPSHOT
    + """
set -eu
export GIT_DIR="$START" GIT_WORK_TREE="$TREE" GIT_INDEX_FILE=/tmp/index
cd "$TREE"
mkdir -p "$GIT_DIR/info" && raw
list | git update-index -z --add --remove --stdin
tree=$(git write-tree)
git update-ref refs/heads/start "$(git commit-tree "$tree" -m start)"
git repack -a -d -q
echo "$tree"
"""
)

# Writes the workspace to standard output. Variables: FORMAT, START or "", START_TREE, BASE and HEAD_SHA or "". Ignored
# files that did not exist at the start are left out.
READ = (
    _SNAPSHOT
    + """
set -eu
if [ "$FORMAT" = tar ]; then
    code=0
    tar -c -f - --numeric-owner --owner=0 --group=0 . || code=$?
    [ "$code" -le 1 ]
    exit
fi
W=/tmp/work
mkdir "$W"
(cd / && git init -q --bare --template= "$W/git")
export GIT_DIR="$W/git" GIT_INDEX_FILE="$W/index" GIT_WORK_TREE="$PWD"
mkdir -p "$GIT_DIR/info" && raw
objects=
if [ -n "$START" ]; then objects="$START/objects"; fi
if [ -n "$BASE" ] && [ -d .git/objects ]; then objects="$objects:$PWD/.git/objects"; fi
export GIT_ALTERNATE_OBJECT_DIRECTORIES="$objects"
git read-tree "$(if [ -n "$START" ]; then echo "$START_TREE"; else git mktree < /dev/null; fi)"
list > "$W/all"
git ls-files -z | sort -z > "$W/known"
{ git check-ignore -z --stdin --no-index < "$W/all" || [ $? -eq 1 ]; } | sort -z > "$W/ignored"
comm -z -23 "$W/ignored" "$W/known" > "$W/left-out"
comm -z -23 "$W/known" "$W/all" | git update-index -z --force-remove --stdin
comm -z -23 "$W/all" "$W/left-out" | git update-index -z --add --remove --replace --stdin
now=$(git write-tree)
if [ "$FORMAT" = diff ]; then
    exec git -c core.quotePath=false diff-tree -r -M -p --binary --full-index --no-color --no-ext-diff --no-textconv \\
        "$START_TREE" "$now"
fi
export GIT_AUTHOR_DATE="$(date +%s) +0000" GIT_COMMITTER_DATE="$(date +%s) +0000"
git symbolic-ref HEAD refs/heads/workspace
known() { [ -n "$1" ] && git cat-file -e "$1^{commit}" 2>/dev/null; }
if known "$BASE" && known "$HEAD_SHA"; then
    commit=$(git commit-tree "$now" -p "$HEAD_SHA" -m "workspace")
    if git rev-list --objects "$commit" "^$BASE" >/dev/null 2>&1; then
        git update-ref refs/heads/workspace "$commit"
        exec git bundle create -q - HEAD refs/heads/workspace "^$BASE"
    fi
fi
start=$(git commit-tree "$START_TREE" -m "start")
git update-ref refs/heads/start "$start"
git update-ref refs/heads/workspace "$(git commit-tree "$now" -p "$start" -m "workspace")"
exec git bundle create -q - HEAD refs/heads/workspace refs/heads/start
"""
)
