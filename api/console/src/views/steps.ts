/** How long each step of a turn took: the model's calls, and what it called. */
import type { Item } from "../protocol/types";
import { plural } from "./format";

export interface Step {
  what: string;
  kind: "model" | "tool";
  /** Unix milliseconds */
  atMs: number;
  /** For how long it ran. */
  ms: number;
  /** For how long it was asked for before it ran, mostly because a person had to answer. */
  waitedMs: number;
}

const OF_MODEL: readonly Item["type"][] = ["agentMessage", "reasoning", "plan"];
const UNTIMED: readonly Item["type"][] = ["userMessage", "contextCompaction", "enteredReviewMode", "exitedReviewMode", "imageView"];
const MOST_AT_ONCE = 64; // of tools; older ones are over
const WAITED_MS = 1000; // less is the work of the server

/**
 * Return the steps of a turn that has ended, in order.
 *
 * The protocol has no item for a call of the model. It is the time from the end of what came before to its last word, or
 * to the begin of what it called.
 */
export function stepsOf(items: readonly Item[]): Step[] {
  const steps: Step[] = [];
  const ends: number[] = []; // of what is not the model's
  let modelEnd = 0; // of its last call
  let wordEnd: number | null = null; // of the last word of the call under way
  let callFrom = 0;
  const begin = (atMs: number) => Math.max(modelEnd, ...ends.slice(-MOST_AT_ONCE).filter((end) => end <= atMs));
  const end = (atMs: number) => {
    if (callFrom > 0 && atMs > callFrom) {
      steps.push({ what: "Model", kind: "model", atMs: callFrom, ms: atMs - callFrom, waitedMs: 0 });
      modelEnd = atMs;
    }
    wordEnd = null;
  };
  for (const item of items) {
    const { startedAtMs, completedAtMs } = item;
    if (startedAtMs === null || completedAtMs === null) continue;
    if (OF_MODEL.includes(item.type)) {
      if (wordEnd === null) callFrom = begin(startedAtMs) || startedAtMs;
      wordEnd = Math.max(wordEnd ?? 0, completedAtMs);
      continue;
    }
    if (wordEnd === null) callFrom = begin(startedAtMs);
    end(item.type === "userMessage" ? (wordEnd ?? 0) : startedAtMs);
    ends.push(completedAtMs);
    if (!UNTIMED.includes(item.type)) steps.push(stepOf(item, startedAtMs, completedAtMs));
  }
  if (wordEnd !== null) end(wordEnd);
  return steps;
}

function stepOf(item: Item, startedAtMs: number, completedAtMs: number): Step {
  const wholeMs = Math.max(0, completedAtMs - startedAtMs);
  const ms = "durationMs" in item && typeof item.durationMs === "number" ? item.durationMs : wholeMs;
  const waitedMs = wholeMs - ms > WAITED_MS ? wholeMs - ms : 0;
  return { what: nameOf(item), kind: "tool", atMs: startedAtMs, ms, waitedMs };
}

function nameOf(item: Item): string {
  switch (item.type) {
    case "commandExecution":
      return item.command;
    case "fileChange":
      return `Change of ${plural(item.changes.length, "file")}`;
    case "mcpToolCall":
      return `${item.server} · ${item.tool}`;
    case "dynamicToolCall":
      return item.tool;
    default:
      return item.type;
  }
}
