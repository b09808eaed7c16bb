/**
 * Text of others: harmless wherever it is drawn, and as a person must see it before they answer.
 *
 * Everywhere, control characters and those that change the order of what is drawn are written as \u{…}; line breaks, the
 * joiners of emoji and the marks of languages that are written from right to left stay. In a request, so is
 * whatever would be drawn as nothing, or as a space that is none.
 */
const HARMFUL = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;
const UNSEEN = "[\\p{C}\\p{Z}\\p{Default_Ignorable_Code_Point}\\u2800]";
const IN_BLOCK = new RegExp(`(?![\\n\\t ])${UNSEEN}`, "gu");
const IN_LINE = new RegExp(`(?! )${UNSEEN}`, "gu");

/** Return text as it is drawn anywhere. */
export function harmless(text: string): string {
  return text.replace(HARMFUL, written);
}

/** Return text of several lines as it must be seen before an answer. */
export function visible(text: string): string {
  return text.replace(IN_BLOCK, written);
}

/** Return text of one line as it must be seen before an answer. */
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
