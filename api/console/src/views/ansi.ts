/** The output of commands: colours of the terminal as classes, all other control sequences left out. */
import Anser from "anser";

export interface Piece {
  text: string;
  classes: string;
}

const MOST_CHARACTERS = 200_000; // of one output; the end of it is shown

/** Return the pieces of an output. A line that was written over with "\r" shows its last state. */
export function ansiPieces(output: string): Piece[] {
  const shown = output.length > MOST_CHARACTERS ? output.slice(-MOST_CHARACTERS) : output;
  const entries = new Terminal().ansiToJson(plainLines(shown), { json: true, use_classes: true, remove_empty: true });
  return entries.map((entry) => ({ text: controlFree(entry.content), classes: classesOf(entry) })).filter((piece) => piece.text);
}

/** Has each decoration once: the library adds it again at each sequence that turns it on, and copies all of them for each piece. */
class Terminal extends Anser {
  declare private decorations: Anser.DecorationName[];

  override processChunkJson(...chunk: Parameters<Anser["processChunkJson"]>): Anser.AnserJsonEntry {
    const entry = super.processChunkJson(...chunk);
    this.decorations = [...new Set(this.decorations)];
    entry.decorations = [...new Set(entry.decorations)];
    return entry;
  }
}

function plainLines(text: string): string {
  // Titles, links and other strings of the terminal (OSC, DCS, …) end with BEL or ST.
  const withoutStrings = text.replace(/\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?/g, "");
  const withoutMoves = withoutStrings.replace(/\x1b\[[0-9:;<=>?]*[ -/]*[@-ln-~]/g, "").replace(/\x1b[ -/]*[0-OQ-WYZ\\`-~]/g, "");
  // Each run of "\r" is matched once, whatever follows it: looking for "\n" from each of them would take too long.
  const withoutRuns = withoutMoves.replace(/\r+\n?/g, (run) => (run.endsWith("\n") ? "\n" : "\r"));
  return withoutRuns.replace(/^.*\r(?=[^\n])/gm, "");
}

function controlFree(text: string): string {
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "");
}

function classesOf(entry: { fg: string; bg: string; decorations: string[] }): string {
  const colour = (name: string, kind: string) => (/^ansi-(bright-)?\w+$/.test(name) ? `${kind}-${name.slice(5)}` : "");
  return [colour(entry.fg, "fg"), colour(entry.bg, "bg"), ...entry.decorations].filter(Boolean).join(" ");
}
