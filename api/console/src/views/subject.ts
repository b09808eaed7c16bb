/** What a request is about, as it must be seen, and what of it is not shown yet. */
import type { FileUpdate, Item, ServerRequest } from "../protocol/types";
import { metaOf, PATCH, prefixOf } from "./decisions";
import { MOST_LINES } from "./diff";
import { textOf, visible, visibleLine } from "./visible";

const MOST_CHARACTERS = 20_000; // of one text, until all is asked for
export const MOST_PREFIX = 60; // characters of what is always allowed that its button shows
const MOST_DEPTH = 30; // that is indented: each line of deeper JSON would be long, and there can be many

export interface SubjectText {
  kind: "words" | "code" | "folder";
  label: string;
  text: string;
}

export interface Subject {
  texts: readonly SubjectText[];
  changes: readonly FileUpdate[];
  /** What is not shown, for a sentence; "": all is. */
  left: string;
  /** Why nobody can accept it here; null: it can be accepted. */
  lacks: string | null;
  /** Whether something is written as \u{…}. */
  isWritten: boolean;
}

/** Return the subject of a request. isWhole: however long it is */
export function subjectOf({ method, params }: Pick<ServerRequest, "method" | "params">, item: Item | null, isWhole: boolean): Subject {
  const given: SubjectText[] = [];
  const add = (kind: SubjectText["kind"], label: string, value: unknown) => {
    if (typeof value === "string" && value) given.push({ kind, label, text: value });
  };
  const toolParams = metaOf(params)?.tool_params;
  add("words", "Reason", params.reason);
  add("words", "Message", params.message);
  if (toolParams !== undefined) add("code", "Arguments", JSON.stringify(toolParams, null, isShallow(toolParams, MOST_DEPTH) ? 2 : 0));
  add("code", "Command", params.command);
  add("folder", "Folder", params.cwd);
  add("folder", "Write access from now on", params.grantRoot);
  const prefix = prefixOf(params);
  if (prefix.length > MOST_PREFIX) add("code", "Always allowed are commands that begin with", prefix);

  const seen = given.map((one) => ({ ...one, text: one.kind === "folder" ? visibleLine(one.text) : visible(one.text) }));
  const proposed = item?.type === "fileChange" ? item.changes : [];
  const changes = proposed.map(seenChange);
  const characters = isWhole ? 0 : sum(seen.map(({ text }) => text.length - MOST_CHARACTERS));
  const lines = isWhole ? 0 : sum(changes.map(({ diff }) => diff.split("\n").length - MOST_LINES));
  return {
    texts: isWhole ? seen : seen.map((one) => ({ ...one, text: one.text.slice(0, MOST_CHARACTERS) })),
    changes,
    left: [counted(characters, "character"), counted(lines, "line")].filter(Boolean).join(" and "),
    lacks: lackOf(method, changes, toolParams),
    isWritten: JSON.stringify([given, proposed]) !== JSON.stringify([seen, changes]),
  };
}

function seenChange(change: FileUpdate): FileUpdate {
  const { path, kind, diff } = change;
  const to = "move_path" in kind && kind.move_path ? { move_path: visibleLine(kind.move_path) } : {};
  return { ...change, path: visibleLine(textOf(path)), kind: { ...kind, ...to } as FileUpdate["kind"], diff: visible(textOf(diff)) };
}

function lackOf(method: string, changes: readonly FileUpdate[], toolParams: unknown): string | null {
  if (method === PATCH && changes.length === 0) return "What would change is not known here. Reload the page before you accept it.";
  // The server keeps the digits of whole numbers; a page cannot.
  if (!hasExactNumbers(toolParams)) return "It has a number that is too large to be shown as it is. Accept it in another client, such as the terminal's.";
  return null;
}

function hasExactNumbers(value: unknown): boolean {
  if (typeof value === "number") return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
  if (typeof value !== "object" || value === null) return true;
  return Object.values(value).every(hasExactNumbers);
}

function isShallow(value: unknown, depth: number): boolean {
  if (typeof value !== "object" || value === null) return true;
  return depth > 0 && Object.values(value).every((one) => isShallow(one, depth - 1));
}

function sum(left: number[]): number {
  return left.reduce((total, one) => total + Math.max(0, one), 0);
}

function counted(number: number, what: string): string {
  return number > 0 ? `${number.toLocaleString("en")} more ${what}${number === 1 ? "" : "s"}` : "";
}
