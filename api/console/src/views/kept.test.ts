/** What a form keeps of its fields, and how it has them again. */
import { expect, test } from "vitest";
import { fill, read } from "./kept";

const fields = () =>
  [["text", "text"], ["password", "secret"], ["file", "file"], ["checkbox", "box"], ["radio", "one"], ["radio", "two"], ["submit", ""]].map(([type = "", name = ""]) => ({
    name: type === "radio" ? "radio" : name,
    type,
    value: type === "radio" ? name : "",
    checked: false,
  }));

test("a form has its fields again, but no password and no file", () => {
  const typed = fields();
  for (const field of typed) if (field.type !== "radio") field.value = "typed";
  typed[3]!.checked = typed[5]!.checked = true;
  expect(read(typed)).toEqual({ text: "typed", box: "true", radio: "two" });

  const again = fields();
  fill(again, read(typed));
  expect(again.map(({ value, checked }) => [value, checked])).toEqual([
    ["typed", false],
    ["", false],
    ["", false],
    ["", true],
    ["one", false],
    ["two", true],
    ["", false],
  ]);
});
