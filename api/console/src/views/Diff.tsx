/** The changes of one file: side by side where there is room, otherwise one below the other. */
import { signal, useSignal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { FileUpdate } from "../protocol/types";
import { counts, type DiffLine, diffLines, MOST_LINES, type SideRow, sideBySide } from "./diff";
import { plural } from "./format";

/** The folder that the thread works in: what is below it is named from there. */
export const Cwd = createContext("");

const SIGNS = { add: "+", delete: "−", same: " ", hunk: "" };
const KINDS = { add: "new", delete: "deleted", update: "" };

const room = globalThis.matchMedia?.("(min-width: 72rem)");
const isWide = signal(room?.matches ?? false);
room?.addEventListener("change", () => (isWide.value = room.matches));

/** A change as a fileChange item has it. most: lines that are shown */
export function Diff({ change, open, most }: { change: FileUpdate; open: boolean; most?: number }) {
  const cwd = useContext(Cwd);
  const path = cwd && change.path.startsWith(`${cwd}/`) ? change.path.slice(cwd.length + 1) : change.path;
  return <FileDiff path={path} title={change.path} to={change.kind.move_path} kind={change.kind.type} lines={diffLines(change)} open={open} most={most} />;
}

interface FileDiffProps {
  path: string;
  title?: string;
  /** The new path of a file that was moved. */
  to?: string | null;
  kind: "add" | "delete" | "update";
  lines: readonly DiffLine[];
  open: boolean;
  most?: number;
  /** Said instead of lines. */
  note?: string;
}

export function FileDiff({ path, title = path, to, kind, lines, open, most = MOST_LINES, note }: FileDiffProps) {
  const { added, deleted } = counts(lines);
  const isOpen = useSignal(open); // a closed one is not drawn: there may be very many
  const shown = lines.slice(0, most);
  return (
    <details class="diff" open={open} onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary>
        <code class="path" title={title}>
          {path}
        </code>
        {to && <code class="path">→ {to}</code>}
        <span class="small">
          {KINDS[kind]} <span class="added">+{added}</span> <span class="deleted">−{deleted}</span>
        </span>
      </summary>
      {note && <p class="small quiet">{note}</p>}
      {isOpen.value && shown.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label={`Changes of ${path}`}>
          {isWide.value && added > 0 && deleted > 0 ? <Sides lines={shown} /> : <Unified lines={shown} />}
          {lines.length > most && <p class="small quiet">{plural(lines.length - most, "more line")} not shown.</p>}
        </div>
      )}
    </details>
  );
}

function Unified({ lines }: { lines: readonly DiffLine[] }) {
  return (
    <table>
      <tbody>
        {lines.map((line, index) => (
          <tr key={index} class={line.kind}>
            <td class="number">{line.before}</td>
            <td class="number">{line.after}</td>
            <td class="sign">{SIGNS[line.kind]}</td>
            <td class="line">{line.text}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Sides({ lines }: { lines: readonly DiffLine[] }) {
  return (
    <table class="sides">
      <colgroup>
        <col class="number" />
        <col class="sign" />
        <col />
        <col class="number" />
        <col class="sign" />
        <col />
      </colgroup>
      <tbody>
        {sideBySide(lines).map((row, index) => (
          <SideRowView key={index} row={row} />
        ))}
      </tbody>
    </table>
  );
}

function SideRowView({ row: { left, right } }: { row: SideRow }) {
  if (left?.kind === "hunk") {
    return (
      <tr class="hunk">
        <td class="line" colSpan={6}>
          {left.text}
        </td>
      </tr>
    );
  }
  return (
    <tr>
      <Side line={left} number={left?.before ?? null} />
      <Side line={right} number={right?.after ?? null} />
    </tr>
  );
}

function Side({ line, number }: { line: DiffLine | null; number: number | null }) {
  const kind = line?.kind ?? "none";
  return (
    <>
      <td class={`number ${kind}`}>{number}</td>
      <td class={`sign ${kind}`}>{line && SIGNS[line.kind]}</td>
      <td class={`line ${kind}`}>{line?.text}</td>
    </>
  );
}
