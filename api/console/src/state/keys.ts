/** Keys that work anywhere on the page, unless the user types. */
import { useEffect } from "preact/hooks";
import { singleKeys } from "./preferences";
import { MOMENT_MS } from "./shown";

export interface Key {
  key: string;
  about: string;
  act: () => void;
  /** It works after a moment without letters, so that no word that is typed presses it. */
  isCareful?: true;
}

const active: Key[][] = [];

/** Have keys work while the component is shown; those of the innermost component go first. */
export function useKeys(keys: Key[]): void {
  useEffect(() => {
    active.push(keys);
    return () => void active.splice(active.indexOf(keys), 1);
  });
}

/** Return the keys that work now, each once. */
export function keysNow(): Key[] {
  const found = new Map<string, Key>();
  for (const keys of active.toReversed()) for (const one of keys) if (!found.has(one.key)) found.set(one.key, one);
  return [...found.values()];
}

export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

let lastLetterMs = -Infinity;

globalThis.document?.addEventListener("keydown", (event) => {
  const pausedMs = event.timeStamp - lastLetterMs;
  if (event.key.length === 1) lastLetterMs = event.timeStamp;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping(event.target)) return;
  if (!singleKeys.value && event.key !== "?" && event.key !== "Escape") return;
  if (document.querySelector("dialog:modal")) return; // it covers what the keys are for
  const found = keysNow().find((one) => one.key === event.key);
  if (!found || (found.isCareful && pausedMs < MOMENT_MS)) return;
  event.preventDefault();
  found.act();
});
