/** What is read of a text, and which one would take too long or be too much to draw. */
import { expect, test } from "vitest";
import { read } from "./Markdown";

const table = (columns: number, rows: number) => ["|a", "|-", "|b"].map((cell) => cell.repeat(columns)).join("\n") + "\na".repeat(rows);

test.each([
  ["a table", "table", table(10, 400)],
  ["a row of dashes", "heading", `${"a ".repeat(3000)}\n-${"\na".repeat(4000)}`],
  ["a table in code", "code", `\`\`\`\n${table(100, 100)}\n\`\`\``],
  ["a long list", "list", "- **a** [b](https://example.com) `c`\n".repeat(1000)],
  ["a long item with code", "list", `- a\n  \`\`\`\n${"  some code\n".repeat(500)}`],
  ["long code", "code", `\`\`\`\n${"*[a](b)_`\n".repeat(9000)}\`\`\``],
  ["a long word", "paragraph", "a".repeat(4000)],
])("%s is read as a %s", (_, type, text) => {
  expect(read(text)?.[0]?.type).toBe(type);
});

test.each([
  ["columns × rows", table(2000, 2000)],
  ["a quotation's columns × rows", table(100, 100).replaceAll(/^/gm, "> ")],
  ["an item's columns × rows", `- ${table(100, 100).replaceAll("\n", "\n  ")}`],
  ["columns × rows of Windows", table(100, 100).replaceAll("\n", "\r\n")],
  ["many tables", `${table(10, 10)}\n\n`.repeat(100)],
])("a text with too many cells, %s, is drawn as it is", (_, text) => {
  expect(read(text) === null).toBe(true);
});

test.each([">", "> - ", "+ ", "*a **b ", "[", "![](", "a*b**", "`a``", "<a ", "a_", "(", "http://a(", "&a;", "a@"])(
  "%j again and again is drawn as it is, before it takes too long",
  (part) => {
    expect(read(part.repeat(99_000 / part.length)) === null).toBe(true);
  },
);

test.each([
  ["an item", "- a\n" + "  b\n".repeat(20_000)],
  ["an item without indentation", "- a\n" + "b\n".repeat(40_000)],
  ["an address", `${"a".repeat(99_000)}@`],
])("%s that takes too long is drawn as it is", (_, text) => {
  expect(read(text) === null).toBe(true);
});
