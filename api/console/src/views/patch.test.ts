/** What git writes about changed files, and what two sides show of it. */
import { describe, expect, it } from "vitest";
import { textOf } from "../state/workspace";
import { parseRoute, pathOf } from "../state/route";
import { diffLines, sideBySide } from "./diff";
import { parsePatch, type PatchFile } from "./patch";
import { openAtFirst } from "./Workspace";

const PATCH = `diff --git a/notes.txt b/notes.txt
index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644
--- a/notes.txt
+++ b/notes.txt
@@ -1,3 +1,4 @@
 one
-two
+TWO
+-- a/not a head
 diff --git a/x b/x
\\ No newline at end of file
diff --git a/with blank.txt b/with blank.txt
new file mode 100644
index 0000000000000000000000000000000000000000..3333333333333333333333333333333333333333
--- /dev/null
+++ b/with blank.txt\t
@@ -0,0 +1 @@
+new
diff --git a/gone b/gone
deleted file mode 100755
index 4444444444444444444444444444444444444444..0000000000000000000000000000000000000000
--- a/gone
+++ /dev/null
@@ -1 +0,0 @@
-old
diff --git a/old name b/new name
similarity index 100%
rename from old name
rename to new name
diff --git a/empty b/empty
new file mode 100644
index 0000000000000000000000000000000000000000..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391
diff --git a/picture.png b/picture.png
index 5555555555555555555555555555555555555555..6666666666666666666666666666666666666666 100644
GIT binary patch
literal 4
LcmZQzU|?YY0RR91

literal 0
HcmV?d00001

diff --git "a/tab\\there \\"and\\" \\303\\251" "b/tab\\there \\"and\\" \\303\\251"
new file mode 120000
index 0000000000000000000000000000000000000000..7777777777777777777777777777777777777777
--- /dev/null
+++ "b/tab\\there \\"and\\" \\303\\251"
@@ -0,0 +1 @@
+target
\\ No newline at end of file
`;

describe("a patch", () => {
  const files = parsePatch(PATCH);

  it("names each file and what happened to it", () => {
    expect(files.map(({ path, from, kind, isBinary, isLink }) => [path, from, kind, isBinary, isLink])).toEqual([
      ["notes.txt", null, "update", false, false],
      ["with blank.txt", null, "add", false, false],
      ["gone", null, "delete", false, false],
      ["new name", "old name", "update", false, false],
      ["empty", null, "add", false, false],
      ["picture.png", null, "update", true, false],
      ['tab\there "and" é', null, "add", false, true],
    ]);
  });

  it("keeps lines that look like heads", () => {
    expect(files[0]!.lines.map((line) => [line.kind, line.text])).toEqual([
      ["hunk", "@@ -1,3 +1,4 @@"],
      ["same", "one"],
      ["delete", "two"],
      ["add", "TWO"],
      ["add", "-- a/not a head"],
      ["same", "diff --git a/x b/x"],
      ["hunk", "\\ No newline at end of file"],
    ]);
    expect(files[3]!.lines).toEqual([]);
    expect(files[5]!.lines).toEqual([]);
  });

  it("may be empty, or not one at all", () => {
    expect(parsePatch("")).toEqual([]);
    expect(parsePatch("something else\n")).toEqual([]);
    expect(parsePatch("diff --git \n")[0]).toMatchObject({ path: "", lines: [] });
  });
});

describe("two sides", () => {
  const rows = (diff: string) =>
    sideBySide(diffLines({ path: "x", kind: { type: "update", move_path: null }, diff })).map(({ left, right }) => [left?.text ?? null, right?.text ?? null]);

  it("put a line beside the one that replaced it", () => {
    expect(rows("@@ -1,4 +1,4 @@\n a\n-b\n-c\n+B\n d\n+e\n")).toEqual([
      ["@@ -1,4 +1,4 @@", "@@ -1,4 +1,4 @@"],
      ["a", "a"],
      ["b", "B"],
      ["c", null],
      ["d", "d"],
      [null, "e"],
    ]);
  });

  it("begin anew after lines that were added", () => {
    expect(rows("@@ -1,2 +1,2 @@\n-a\n+A\n-b\n+B\n").slice(1)).toEqual([
      ["a", "A"],
      ["b", "B"],
    ]);
  });
});

it("bytes are text only when all of them are", () => {
  const bytes = (...values: number[]) => new Uint8Array(values);
  expect(textOf(new TextEncoder().encode("é\n"))).toBe("é\n");
  expect(textOf(bytes())).toBe("");
  expect(textOf(bytes(104, 0, 105))).toBe(null);
  expect(textOf(bytes(0xff, 0xfe))).toBe(null);
});

it("addresses lead to a thread's workspace and to a shared thread", () => {
  const routes = [
    { page: "thread", threadId: "t", view: "files" },
    { page: "thread", threadId: "t", view: "changes" },
    { page: "thread", threadId: "t" },
    { page: "shared", secret: "a-b_c" },
  ] as const;
  for (const route of routes) expect(parseRoute(pathOf(route))).toEqual(route);
  expect(parseRoute("#/threads/t/else")).toEqual({ page: "thread", threadId: "t" });
  expect(parseRoute("#/shared/")).toEqual({ page: "threads" });
});

describe("the files that are open at first", () => {
  const files = (...lines: number[]) => lines.map((count) => ({ lines: Array(count).fill(null) })) as unknown as PatchFile[];

  it.each([
    [files(3, 0, 4), 3],
    [files(1990, 10, 1, 1), 2],
    [files(500_000, 1), 1],
    [files(...Array(11).fill(1)), 0],
    [files(), 0],
  ])("%# have no more lines than one draws at once", (found, open) => {
    expect(openAtFirst(found)).toBe(open);
  });
});
