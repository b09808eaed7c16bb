/** A message of the user, as the server takes it. */

export type Part = { type: "text"; text: string } | { type: "image"; url: string };

export function inputOf(text: string, images: readonly string[]): Part[] {
  const pictures = images.map((url): Part => ({ type: "image", url }));
  return text ? [{ type: "text", text }, ...pictures] : pictures;
}

/** Return an id that nobody guesses; crypto.randomUUID is missing where the page comes over plain http. */
export function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
