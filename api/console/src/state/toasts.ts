/** Short messages at the edge of the page, and what can still be undone. */
import { messageOf } from "../protocol/http";
import { ofUser, onUserGone } from "./user";

export interface Toast {
  id: number;
  text: string;
  kind: "info" | "error";
  undo?: () => void;
}

/** What is put off until a message goes. Returns whether it went well, or nothing where nobody has to wait for it. */
type Last = () => Promise<boolean> | void;

const SHOWN_MS = 6000;

export const toasts = ofUser<readonly Toast[]>([]);
const due = new Map<number, { timer: number; last: Last }>();
let count = 0;
onUserGone(() => {
  for (const { timer } of due.values()) clearTimeout(timer);
  due.clear();
});

export function say(text: string, kind: Toast["kind"] = "info"): void {
  show({ id: ++count, text, kind }, () => {});
}

/** Do what the user has asked for. An error is said, and ends with the next thing that goes well. Returns whether it went well. */
export async function attempt(act: () => unknown): Promise<boolean> {
  try {
    await act();
  } catch (error) {
    say(messageOf(error), "error");
    return false;
  }
  forgetErrors();
  return true;
}

function forgetErrors(): void {
  for (const { id, kind } of toasts.value) if (kind === "error") dismiss(id);
}

/** Show a message with an undo button. done: called when the time to undo is over */
export function offerUndo(text: string, undo: () => void, done: Last = () => {}): void {
  const id = ++count;
  const undone = () => {
    clearTimeout(due.get(id)?.timer);
    due.delete(id);
    hide(id);
    undo();
  };
  show({ id, text, kind: "info", undo: undone }, done);
}

/** Do now what was put off: the page or the session is about to end. Returns whether all went well */
export async function finishToasts(): Promise<boolean> {
  const all = [...due];
  due.clear();
  const ends = all.map(([id, { timer, last }]) => (clearTimeout(timer), hide(id), last()));
  return (await Promise.all(ends)).every((isDone) => isDone !== false);
}

export function dismiss(id: number): void {
  const waiting = due.get(id);
  clearTimeout(waiting?.timer);
  due.delete(id);
  hide(id);
  waiting?.last();
}

function show(toast: Toast, last: Last): void {
  forgetErrors(); // the newest word counts
  toasts.value = [...toasts.value, toast];
  due.set(toast.id, { last, timer: window.setTimeout(() => dismiss(toast.id), SHOWN_MS) });
}

function hide(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}
