/** Short messages at the edge of the page, and what can still be undone. */
import { signal } from "@preact/signals";

export interface Toast {
  id: number;
  text: string;
  kind: "info" | "error";
  undo?: () => void;
}

const SHOWN_MS = 6000;

export const toasts = signal<readonly Toast[]>([]);
const due = new Map<number, { timer: number; last: () => void }>();
let count = 0;

export function say(text: string, kind: Toast["kind"] = "info"): void {
  show({ id: ++count, text, kind }, () => {});
}

/** Show a message with an undo button. done: called when the time to undo is over */
export function offerUndo(text: string, undo: () => void, done: () => void = () => {}): void {
  const id = ++count;
  const undone = () => {
    clearTimeout(due.get(id)?.timer);
    due.delete(id);
    hide(id);
    undo();
  };
  show({ id, text, kind: "info", undo: undone }, done);
}

/** Do now what was put off: the page is about to go. */
export function finishToasts(): void {
  for (const [id, { timer, last }] of due) {
    clearTimeout(timer);
    due.delete(id);
    last();
  }
}

export function dismiss(id: number): void {
  const waiting = due.get(id);
  clearTimeout(waiting?.timer);
  due.delete(id);
  hide(id);
  waiting?.last();
}

function show(toast: Toast, last: () => void): void {
  toasts.value = [...toasts.value, toast];
  due.set(toast.id, { last, timer: window.setTimeout(() => dismiss(toast.id), SHOWN_MS) });
}

function hide(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}
