/** What this page holds of the user who is signed in, and forgets as soon as nobody or somebody else is. */
import { batch, type Signal, signal } from "@preact/signals";
import { dropAnswers } from "../protocol/http";

const forgets: (() => void)[] = [];

/** Call a function whenever the user is gone. */
export function onUserGone(forget: () => void): void {
  forgets.push(forget);
}

/** Return a signal that has its first value again when the user is gone. */
export function ofUser<Value>(first: Value): Signal<Value> {
  const held = signal(first);
  onUserGone(() => (held.value = first));
  return held;
}

export function forgetUser(): void {
  dropAnswers();
  batch(() => forgets.forEach((forget) => forget()));
}
