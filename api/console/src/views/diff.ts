/** The lines of a change of a file, as a fileChange item has it. */
import type { FileUpdate } from "../protocol/types";

export const MOST_LINES = 2000; // of one file, until all is asked for

export interface DiffLine {
  kind: "add" | "delete" | "same" | "hunk";
  text: string;
  /** Line numbers before and after the change. */
  before: number | null;
  after: number | null;
}

export function diffLines(change: FileUpdate): DiffLine[] {
  const lines = change.diff.replace(/\n$/, "").split("\n");
  if (change.kind.type === "add") return lines.map((text, index) => ({ kind: "add", text, before: null, after: index + 1 }));
  if (change.kind.type === "delete") return lines.map((text, index) => ({ kind: "delete", text, before: index + 1, after: null }));
  return hunkLines(lines);
}

export function hunkLines(lines: readonly string[]): DiffLine[] {
  let [before, after] = [1, 1];
  return lines.map((line): DiffLine => {
    const hunk = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/.exec(line);
    if (hunk) {
      [before, after] = [Number(hunk[1]), Number(hunk[2])];
      return { kind: "hunk", text: line, before: null, after: null };
    }
    const text = line.slice(1);
    if (line.startsWith("+")) return { kind: "add", text, before: null, after: after++ };
    if (line.startsWith("-")) return { kind: "delete", text, before: before++, after: null };
    if (line.startsWith("\\")) return { kind: "hunk", text: line, before: null, after: null };
    return { kind: "same", text, before: before++, after: after++ };
  });
}

export function counts(lines: readonly DiffLine[]): { added: number; deleted: number } {
  return {
    added: lines.filter((line) => line.kind === "add").length,
    deleted: lines.filter((line) => line.kind === "delete").length,
  };
}

/** A line of two sides: a line that was replaced stands beside the one that replaced it. */
export interface SideRow {
  left: DiffLine | null;
  right: DiffLine | null;
}

export function sideBySide(lines: readonly DiffLine[]): SideRow[] {
  const rows: SideRow[] = [];
  let deleted: DiffLine[] = [];
  let added: DiffLine[] = [];
  const pair = () => {
    for (let index = 0; index < Math.max(deleted.length, added.length); index++) {
      rows.push({ left: deleted[index] ?? null, right: added[index] ?? null });
    }
    [deleted, added] = [[], []];
  };
  for (const line of lines) {
    if (line.kind === "delete") {
      if (added.length) pair();
      deleted.push(line);
    } else if (line.kind === "add") added.push(line);
    else {
      pair();
      rows.push({ left: line, right: line });
    }
  }
  pair();
  return rows;
}
