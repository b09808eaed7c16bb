"""Limits and sandbox are set before anything of the user's is in effect: a variable cannot lift them."""

from __future__ import annotations

import pytest

from tests.hostile.conftest import Tenants

# As a preloaded library it replaces the functions that set limits. As an auditing one, which is asked before a program
# begins, it runs what `prlimit` would run, but without limits.
LIBRARY = """
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int setrlimit() { return 0; }
int setrlimit64() { return 0; }
int prlimit() { return 0; }
int prlimit64() { return 0; }
unsigned int la_version(unsigned int version) {
    static char line[65536], *words[1024];
    FILE *file = fopen("/proc/self/cmdline", "r");
    size_t size = fread(line, 1, sizeof line - 1, file), count = 0;
    for (char *at = line; at < line + size; at += strlen(at) + 1) words[count++] = at;
    for (size_t i = 0; strstr(words[0], "prlimit") && i < count; i++)
        if (!strcmp(words[i], "--")) execv(words[i + 1], &words[i + 1]);
    return version;
}
"""
LIMITS = "for what in n f c t d; do ulimit -$what; done"


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "LD_AUDIT"])
def test_a_library_of_the_user_cannot_replace_what_sets_the_limits(tenants: Tenants, variable: str) -> None:
    eve = tenants.eve
    workspace = eve.start_thread()["cwd"]
    expected = eve.run(f"bash -c '{LIMITS}'", workspace)["stdout"]
    (eve.folder / workspace.rpartition("/")[2] / "evil.c").write_text(LIBRARY)
    built = eve.run("cc -w -fno-builtin -shared -fPIC -o evil.so evil.c", workspace)
    if built["exitCode"] != 0:
        pytest.skip(f"no C compiler: {built['stderr'][-200:]}")

    found = eve.run(f"bash -c '{LIMITS}'", workspace, env={variable: f"{workspace}/evil.so"})

    assert found["stdout"] == expected


def test_variables_reach_the_command(tenants: Tenants) -> None:
    eve = tenants.eve
    value = "a 'quoted' $value\nof two lines"

    found = eve.run('printf "%s|%s|%s" "$ONE" "$TWO" "${LANG-unset}"', env={"ONE": value, "TWO": "", "LANG": None})

    assert found["stdout"] == f"{value}||unset"
