/** The pure parts of the views: outputs of terminals, diffs, addresses, routes, the list. */
import { Lexer } from "marked";
import { expect, test, vi } from "vitest";
import type { Item, Thread } from "../protocol/types";
import { refusedProfiles } from "../state/models";
import { parseRoute, pathOf, type Route } from "../state/route";
import { soon } from "../state/soon";
import { listAfter, withFirstPage } from "../state/threads";
import { ansiPieces } from "./ansi";
import { inChunks } from "./Chunk";
import { sandboxes } from "./Choices";
import { decisionsOf, titleOf } from "./decisions";
import { counts, diffLines } from "./diff";
import { INVALID, valueOf } from "./Elicitation";
import { safeAddress, unescaped, withLevels } from "./Markdown";

const plain = (output: string) =>
  ansiPieces(output)
    .map((piece) => piece.text)
    .join("");

test("colours become classes", () => {
  expect(ansiPieces("\x1b[31mred\x1b[0m and \x1b[1;92mbright\x1b[m")).toEqual([
    { text: "red", classes: "fg-red" },
    { text: " and ", classes: "" },
    { text: "bright", classes: "fg-bright-green bold" },
  ]);
});

test("a line that was written over shows its last state", () => {
  expect(plain("10%\r50%\r100%\ndone\r\n")).toBe("100%\ndone\n");
});

test.each([
  ["\x1b]0;title\x07text", "text"],
  ["\x1b]8;;javascript:alert(1)\x1b\\link\x1b]8;;\x1b\\", "link"],
  ["\x1b[2J\x1b[Htext", "text"],
  ["\x1b[38;2;1;2;3mtrue\x1b[0m", "true"],
  ["a\x00b\x08c", "abc"],
  ["<script>alert(1)</script>", "<script>alert(1)</script>"],
])("%j is shown as %j", (output, shown) => {
  expect(plain(output)).toBe(shown);
});

test("an output of any length is shown to its end", () => {
  expect(plain("x".repeat(300_000) + "end").length).toBe(200_000);
});

test("a run of carriage returns is read once", () => {
  expect(plain(`10%${"\r".repeat(199_000)}done\r\r\n`)).toBe("done\n");
});

test("a decoration that is turned on again and again is one", () => {
  const classes = ansiPieces("\x1b[1mx".repeat(20_000) + `\x1b[${"1;".repeat(20_000)}4my`).map((piece) => piece.classes);
  expect([classes.length, new Set(classes)]).toEqual([20_001, new Set(["bold", "bold underline"])]);
});

test("the lines of an update have their numbers", () => {
  const lines = diffLines({ path: "/a", kind: { type: "update", move_path: null }, diff: "@@ -3,2 +3,3 @@\n same\n-old\n+new\n+more\n" });

  expect(lines.map(({ kind, before, after }) => [kind, before, after])).toEqual([
    ["hunk", null, null],
    ["same", 3, 3],
    ["delete", 4, null],
    ["add", null, 4],
    ["add", null, 5],
  ]);
  expect(counts(lines)).toEqual({ added: 2, deleted: 1 });
});

test("a new file is added line by line", () => {
  expect(diffLines({ path: "/a", kind: { type: "add" }, diff: "one\ntwo\n" }).map((line) => line.text)).toEqual(["one", "two"]);
});

test.each(["javascript:alert(1)", " javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "vbscript:x", "//evil", "/v2", "file:///etc", "blob:x"])(
  "%j is no link",
  (href) => {
    expect(safeAddress(href)).toBeNull();
  },
);

test("web and mail addresses are links", () => {
  expect(safeAddress("https://example.com/a?b#c")).toBe("https://example.com/a?b#c");
  expect(safeAddress("mailto:ada@example.com")).toBe("mailto:ada@example.com");
});

test("character references are read once", () => {
  expect(unescaped("a &amp;lt; &#60;b&#x3e; &unknown; &#xD800; &#0;")).toBe("a &lt; <b> &unknown; \ufffd \ufffd");
});

test.each<Route>([
  { page: "threads" },
  { page: "new" },
  { page: "inbox" },
  { page: "thread", threadId: "a/b c" },
  { page: "admin", tab: "turns", id: "x" },
  { page: "admin", tab: "health", id: null },
])("the address of %j leads back to it", (route) => {
  expect(parseRoute(pathOf(route))).toEqual(route);
});

test.each(["#/nothing", "#/admin/none", "#/threads/", "#%", "#/threads"])("%j is the list", (hash) => {
  expect(parseRoute(hash)).toEqual({ page: "threads" });
});

test("the list follows the events of its threads", () => {
  const thread = { id: "t", name: null, status: { type: "idle" } } as Thread;
  const status = { type: "active", activeFlags: ["waitingOnApproval"] } as Thread["status"];

  const [active] = listAfter([thread], { method: "thread/status/changed", params: { threadId: "t", status } });
  expect(active?.status).toEqual(status);
  expect(listAfter([thread], { method: "thread/name/updated", params: { threadId: "t", threadName: "N" } })[0]?.name).toBe("N");
  expect(listAfter([thread], { method: "thread/archived", params: { threadId: "t" } })).toEqual([]);
  expect(listAfter([thread], { method: "thread/deleted", params: { threadId: "other" } })).toEqual([thread]);
});

test.each([
  ["# a\n### b\n# c", [2, 3, 2]],
  ["### a\n# b\n## c\n### d", [2, 2, 3, 4]],
  ["## a", [2]],
])("the headings of %j have the levels %j", (text, levels) => {
  const found = withLevels(new Lexer().lex(text)).filter((token) => token.type === "heading");

  expect(found.map((token) => ("level" in token ? token.level : null))).toEqual(levels);
});

const ON = { threadId: "t", turnId: "u" };

test("a command can be accepted, always allowed, declined or stopped with one key", () => {
  const params = { ...ON, command: "ls", proposedExecpolicyAmendment: ["ls"] };
  const found = decisionsOf({ method: "item/commandExecution/requestApproval", params });

  expect(found.map((one) => one.key)).toEqual(["a", "s", "p", "d", "x"]);
  expect(found[2]?.result).toEqual({ decision: { acceptWithExecpolicyAmendment: { execpolicy_amendment: ["ls"] } } });
});

test("a tool of an MCP server can be allowed for as long as the server says", () => {
  const params = { ...ON, serverName: "files", mode: "form", _meta: { codex_approval_kind: "mcp_tool_call", persist: ["session"] } };
  const request = { method: "mcpServer/elicitation/request", params };

  expect(titleOf(request)).toBe("May this tool be called?");
  expect(decisionsOf(request).map((one) => [one.key, one.result])).toEqual([
    ["a", { action: "accept", content: {}, _meta: null }],
    ["s", { action: "accept", content: {}, _meta: { persist: "session" } }],
    ["d", { action: "decline", content: null, _meta: null }],
  ]);
});

test("a request that this page cannot answer has no keys", () => {
  expect(decisionsOf({ method: "item/tool/call", params: ON })).toEqual([]);
});

test.each([
  ["7", { type: "integer" }, 7],
  ["7.5", { type: "integer" }, INVALID],
  ["9007199254740993", { type: "integer" }, INVALID],
  ["1,5", { type: "number" }, INVALID],
  ["7.5", { type: "number" }, 7.5],
  ["x", { type: "number" }, INVALID],
  ["", { type: "number" }, undefined],
  [" x ", { type: "string" }, "x"],
  ["", { type: "string" }, undefined],
  ["on", { type: "boolean" }, true],
  [null, { type: "boolean" }, false],
])("the field %j of %j means %j", (given, field, value) => {
  expect(valueOf(given, field)).toBe(value);
});

const at = (id: string, recencyAt: number) => ({ id, recencyAt, updatedAt: recencyAt }) as Thread;

test("the first page of a list is read again without losing the pages behind it", () => {
  const old = [at("a", 9), at("b", 8), at("gone", 8), at("c", 3), at("d", 2)];
  const ids = (list: readonly Thread[]) => list.map((thread) => thread.id);

  expect(ids(withFirstPage(old, [at("new", 10), at("c", 9), at("b", 8)], false))).toEqual(["new", "c", "b", "d"]);
  expect(ids(withFirstPage(old, [at("a", 9)], true))).toEqual(["a"]);
});

test("many calls within a moment are one", () => {
  vi.useFakeTimers();
  const act = vi.fn();
  const ask = soon(act, 300);

  for (let call = 0; call < 100; call++) ask();
  vi.advanceTimersByTime(300);
  ask();
  vi.advanceTimersByTime(300);

  expect(act).toHaveBeenCalledTimes(2);
  vi.useRealTimers();
});

test("the places that divide items stay when items are added before or behind them", () => {
  const items = Array.from({ length: 400 }, (_, index) => ({ id: (index * 2654435761).toString(16) }) as Item);
  const begins = (of: Item[]) => inChunks(of).map(([first]) => first!.id);

  const inside = begins(items.slice(100, 300));
  expect(inChunks(items).flat()).toEqual(items);
  expect(Math.max(...inChunks(items).map((chunk) => chunk.length))).toBeLessThanOrEqual(16);
  expect(begins(items)).toEqual(expect.arrayContaining(inside.slice(20)));
});

test("a sandbox that the server refuses is not offered", () => {
  expect(Object.keys(sandboxes())).toEqual(["read-only", "workspace-write", "danger-full-access"]);
  refusedProfiles.value = [":workspace", ":danger-full-access"];
  expect(Object.keys(sandboxes())).toEqual(["read-only"]);
  refusedProfiles.value = [];
});
