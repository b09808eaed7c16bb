import { expect, test } from "vitest";
import type { Item } from "../protocol/types";
import { stepsOf } from "./steps";

const item = (type: string, startedAtMs: number | null, completedAtMs: number | null, more: object = {}) =>
  ({ type, startedAtMs, completedAtMs, ...more }) as unknown as Item;
const command = (name: string, from: number, to: number, durationMs: number | null = to - from) =>
  item("commandExecution", from, to, { command: name, durationMs });
const shown = (...items: Item[]) => stepsOf(items).map(({ what, atMs, ms, waitedMs }) => [what, atMs, ms, waitedMs]);

test("calls of the model lie between what the user wrote and what it called", () => {
  const steps = shown(
    item("userMessage", 1000, 1000),
    item("reasoning", 3000, 4000),
    item("agentMessage", 4000, 5000),
    command("ls", 5500, 6500),
    item("mcpToolCall", 8000, 8300, { server: "docs", tool: "find", durationMs: 250 }),
    item("agentMessage", 9000, 9900),
  );
  expect(steps).toEqual([
    ["Model", 1000, 4500, 0],
    ["ls", 5500, 1000, 0],
    ["Model", 6500, 1500, 0],
    ["docs · find", 8000, 250, 0],
    ["Model", 8300, 1600, 0],
  ]);
});

test("calls at once follow one call of the model", () => {
  const steps = shown(item("userMessage", 1000, 1000), command("a", 2000, 9000), command("b", 2000, 3000), item("agentMessage", 9500, 9900));
  expect(steps.map(([what]) => what)).toEqual(["Model", "a", "b", "Model"]);
  expect(steps.at(-1)).toEqual(["Model", 9000, 900, 0]);
});

test("what waited for an answer says for how long, and runs only then", () => {
  const steps = shown(item("userMessage", 1000, 1000), command("rm", 2000, 62_500, 500));
  expect(steps.at(-1)).toEqual(["rm", 2000, 500, 60_000]);
});

test("a command that runs on does not hide the model's call beside it, and one that is not over is left out", () => {
  const steps = shown(
    item("userMessage", 1000, 1000),
    command("server", 2000, 60_000),
    item("agentMessage", 12_000, 13_000),
    item("commandExecution", 14_000, null),
  );
  expect(steps).toEqual([
    ["Model", 1000, 1000, 0],
    ["server", 2000, 58_000, 0],
    ["Model", 2000, 11_000, 0],
  ]);
});

test("steering in mid-answer ends the call", () => {
  const steps = shown(item("userMessage", 1000, 1000), item("agentMessage", 2000, 3000), item("userMessage", 3500, 3500), item("agentMessage", 5000, 6000));
  expect(steps).toEqual([
    ["Model", 1000, 2000, 0],
    ["Model", 3500, 2500, 0],
  ]);
});
