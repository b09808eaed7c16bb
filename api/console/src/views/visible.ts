/**
 * Text of others as a person must see it before they answer.
 *
 * What would be drawn as nothing, as a space that is none, or would change the order of what is drawn, is written as \u{…}.
 */
const UNSEEN = "[\\p{C}\\p{Z}\\p{Default_Ignorable_Code_Point}\\u2800]";
const IN_BLOCK = new RegExp(`(?![\\n\\t ])${UNSEEN}`, "gu");
const IN_LINE = new RegExp(`(?! )${UNSEEN}`, "gu");

/** Return text of several lines as it must be seen. */
export function visible(text: string): string {
  return text.replace(IN_BLOCK, written);
}

/** Return text of one line as it must be seen. */
export function visibleLine(text: string): string {
  return text.replace(IN_LINE, written);
}

function written(character: string): string {
  return `\\u{${character.codePointAt(0)!.toString(16)}}`;
}

/** Return the text of a value that others chose: a string as it is, anything else as JSON. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

/** Return the beginning of a line, and that it goes on. */
export function shortened(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
