/** What a user has chosen for this browser. No secret is stored here. */
import { effect, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";
export const THEMES: readonly Theme[] = ["auto", "light", "dark"];

function stored(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // storage may be turned off
  }
}

function store(name: string, value: string): void {
  try {
    localStorage.setItem(name, value);
  } catch {
    // The choice then lasts until the page is closed.
  }
}

export const theme = signal<Theme>((stored("theme") as Theme | null) ?? "auto");
export const singleKeys = signal(stored("singleKeys") !== "off");

effect(() => {
  const root = globalThis.document?.documentElement; // there is none in unit tests
  if (root && theme.value === "auto") delete root.dataset.theme;
  else if (root) root.dataset.theme = theme.value;
  store("theme", theme.value);
});
effect(() => store("singleKeys", singleKeys.value ? "on" : "off"));

/** Return whether something was turned on in this browser. */
export function flag(name: string): boolean {
  return stored(name) === "on";
}

export function storeFlag(name: string, on: boolean): void {
  store(name, on ? "on" : "off");
}
