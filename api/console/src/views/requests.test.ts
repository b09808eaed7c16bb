/** What hostile servers, models and names send in a request: it is shown as it is, whole, and breaks nothing. */
import { describe, expect, test } from "vitest";
import { isPassing, mayHaveArrived, ServerError } from "../protocol/http";
import { isEvent } from "../protocol/stream";
import type { Item } from "../protocol/types";
import { decisionsOf, titleOf } from "./decisions";
import { fieldsOf, hasMoreFields, requiredOf, valueOf } from "./Elicitation";
import { subjectOf } from "./subject";
import { harmless, visible, visibleLine } from "./visible";

const ON = { threadId: "t", turnId: "u" };
const command = (params: object) => ({ method: "item/commandExecution/requestApproval", params: { ...ON, ...params } });
const patch = { method: "item/fileChange/requestApproval", params: { ...ON, itemId: "i" } };
const call = (tool_params: unknown) => ({
  method: "mcpServer/elicitation/request",
  params: { ...ON, mode: "form", message: "Allow it?", _meta: { codex_approval_kind: "mcp_tool_call", tool_params } },
});
const fileChange = (path: string, diff: string) =>
  ({ type: "fileChange", id: "i", changes: [{ path, kind: { type: "update", move_path: null }, diff }] }) as unknown as Item;

describe("characters", () => {
  test.each([
    ["a right-to-left override", "a\u202eb", "a\\u{202e}b"],
    ["isolates", "\u2066a\u2069", "\\u{2066}a\\u{2069}"],
    ["nothing that separates", "r\u200bm", "r\\u{200b}m"],
    ["a byte order mark", "\ufeff", "\\u{feff}"],
    ["a terminal's escape", "\x1b[2K", "\\u{1b}[2K"],
    ["a lone return", "a\rb", "a\\u{d}b"],
    ["a space that is none", "rm\u00a0x", "rm\\u{a0}x"],
    ["a letter that is drawn as nothing", "a\u3164", "a\\u{3164}"],
    ["tags", "a\u{e0041}", "a\\u{e0041}"],
    ["half a character", "a\ud800", "a\\u{d800}"],
    ["a line separator", "a\u2028b", "a\\u{2028}b"],
  ])("%s is written out", (_, text, shown) => {
    expect(visible(text)).toBe(shown);
    expect(visibleLine(text)).toBe(shown);
  });

  test("what reorders or hides is written out everywhere, and what languages and emoji need is not", () => {
    expect(harmless("a\u202eb\u2066c\x1b[2K\x9b\x00\x7f")).toBe("a\\u{202e}b\\u{2066}c\\u{1b}[2K\\u{9b}\\u{0}\\u{7f}");
    const text = "Grüße,\tשלום\u200f\r\n👩\u200d💻 ❤\ufe0f";
    expect(harmless(text)).toBe(text);
  });

  test("what is seen stays as it is", () => {
    const text = "Grüße, 世界, שלום, ñ é 👍 \\u{202e}";
    expect(visible(`${text}\n\t${text}`)).toBe(`${text}\n\t${text}`);
    expect(visibleLine("a\n\tb")).toBe("a\\u{a}\\u{9}b");
  });
});

describe("the subject of a request", () => {
  test("is written out wherever it would deceive, and says so", () => {
    const subject = subjectOf(command({ command: "ls \u202etxt.sh", cwd: "/a\nb" }), null, false);

    expect(subject.texts.map(({ text }) => text)).toEqual(["ls \\u{202e}txt.sh", "/a\\u{a}b"]);
    expect(subject.isWritten).toBe(true);
    expect(subjectOf(command({ command: "ls" }), null, false).isWritten).toBe(false);

    const changed = subjectOf(patch, fileChange("/a\u202eb", "+\u2066x\n"), false);
    expect(changed.changes.map(({ path, diff }) => [path, diff])).toEqual([["/a\\u{202e}b", "+\\u{2066}x\n"]]);
    expect(changed.isWritten).toBe(true);
  });

  test("is whole, or says how much is missing", () => {
    const long = call({ text: "x".repeat(30_000), last: "rm" });
    const cut = subjectOf(long, null, false);

    expect(cut.left).toMatch(/^10,\d{3} more characters$/);
    expect(cut.texts.some(({ text }) => text.includes("rm"))).toBe(false);
    const whole = subjectOf(long, null, true);
    expect(whole.left).toBe("");
    expect(whole.texts.some(({ text }) => text.includes('"last": "rm"'))).toBe(true);
    expect(subjectOf(patch, fileChange("/a", "+x\n".repeat(2500)), false).left).toMatch(/^50\d more lines$/);
    expect(subjectOf(command({ command: "ls" }), null, false).left).toBe("");
  });

  test("cannot be accepted with a number that the page has rounded", () => {
    const lacks = (json: string) => subjectOf(call(JSON.parse(json)), null, false).lacks;

    expect(lacks('{"account": 9007199254740993}')).toMatch(/too large to be shown as it is/);
    expect(lacks('{"deep": [{"x": -1e400}]}')).toMatch(/too large/);
    expect(lacks('{"account": 9007199254740991, "rate": 0.1, "text": "9007199254740993"}')).toBe(null);
  });

  test("deep arguments are not made long", () => {
    let deep: unknown = Array.from({ length: 10_000 }, () => 1);
    for (let level = 0; level < 200; level++) deep = [deep];

    expect(subjectOf(call(deep), null, true).texts.at(-1)?.text.length).toBeLessThan(25_000);
  });

  test("a patch whose changes are not known cannot be accepted", () => {
    expect(subjectOf(patch, null, false).lacks).not.toBeNull();
    expect(subjectOf(patch, fileChange("/a", "+x"), false).lacks).toBeNull();
  });

  test("what is always allowed is named as a shell reads it, and whole", () => {
    const request = command({ command: "x", proposedExecpolicyAmendment: ["git -c", "it's", "\u202ex"] });
    const long = command({ command: "x", proposedExecpolicyAmendment: ["a".repeat(100)] });

    expect(decisionsOf(request).find(({ key }) => key === "p")?.text).toBe("Always allow “'git -c' 'it'\\''s' '\\u{202e}x'”");
    expect(decisionsOf(long).find(({ key }) => key === "p")?.text).toContain("a…”");
    expect(subjectOf(long, null, false).texts.map(({ text }) => text)).toContain("a".repeat(100));
  });

  test("only what lets nothing happen may be chosen before all is shown", () => {
    const unseen = [...decisionsOf(command({ command: "x" })), ...decisionsOf(call({}))].filter((one) => !one.allows);

    expect(unseen.map(({ text }) => text)).toEqual(["Decline", "Decline and stop the turn", "Decline"]);
  });
});

describe("the form of an MCP server", () => {
  const form = (requestedSchema: unknown) => ({ ...ON, mode: "form", requestedSchema });

  test.each([null, 1, "x", [], { properties: null }, { properties: [] }, { properties: 5, required: "a" }, { required: { a: 1 } }])(
    "has no fields when its schema is %j",
    (schema) => {
      expect(fieldsOf(form(schema))).toEqual([]);
      expect(requiredOf(form(schema))).toEqual([]);
    },
  );

  test.each([null, 1, "x", [], { title: {}, description: 7, enum: 9, default: { toString: 1 } }, { enum: [null, { toString: 1 }] }])(
    "has a field that can be shown when it is %j",
    (field) => {
      const [found] = fieldsOf(form({ properties: { a: field } }));
      expect(found).toMatchObject({ name: "a", title: "a", description: "" });
    },
  );

  test("answers nothing that was not seen", () => {
    const [field] = fieldsOf(form({ properties: { "a\u200b": { default: "x\u202ey", description: "\u2066" } } }));

    expect(field).toMatchObject({ title: "a\\u{200b}", description: "\\u{2066}", initial: "" });
    expect(valueOf(" a", { type: "string", choices: [" a"] })).toBe(" a");
  });

  test("says that it has more fields than it shows", () => {
    const many = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`f${index}`, {}]));

    expect(hasMoreFields(form({ properties: many }))).toBe(true);
    expect(hasMoreFields(form({ properties: { a: {} } }))).toBe(false);
  });

  test("its name cannot be longer than a title", () => {
    const title = titleOf({ method: "mcpServer/elicitation/request", params: { ...ON, serverName: `${"x".repeat(80)}\u202e` } });
    expect(title).toBe(`${"x".repeat(60)}… asks you`);
  });
});

describe("the reading edge", () => {
  test.each([null, 1, "x", [], {}, { method: 1, params: {} }, { method: "x" }, { method: "x", params: null }, { id: "1", method: "x", params: {} }])(
    "%j is no event",
    (data) => {
      expect(isEvent(data)).toBe(false);
    },
  );

  test("notifications and requests are events", () => {
    expect(isEvent({ method: "warning", params: {} })).toBe(true);
    expect(isEvent({ id: 1, method: "x", params: {} })).toBe(true);
  });

  test("what something on the way answers is none of the server's words", () => {
    expect([403, 404].map((status) => isPassing(new ServerError("", status, undefined, false)))).toEqual([true, true]);
  });

  test("a request without an answer may have arrived, and one that was refused has not", () => {
    expect([0, 500, 502, 400, 404, 429].map((status) => mayHaveArrived(new ServerError("", status)))).toEqual([true, true, true, false, false, false]);
  });

  test("a server that is busy or away is asked again", () => {
    expect([0, 408, 429, 500, 503].map((status) => isPassing(new ServerError("", status)))).toEqual([true, true, true, true, true]);
    expect([400, 401, 403, 404, 409].map((status) => isPassing(new ServerError("", status)))).toEqual([false, false, false, false, false]);
    expect(isPassing(new Error("other"))).toBe(false);
  });
});
