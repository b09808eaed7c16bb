/** Notifications of the browser about what waits for an answer. They are asked for by a click, never by the page itself. */
import { signal } from "@preact/signals";
import type { WaitingRequest } from "../protocol/types";
import { titleOf } from "../views/decisions";
import { harmless } from "../views/visible";
import { flag, storeFlag } from "./preferences";
import { titleOf as titleOfThread } from "./threads";
import { say } from "./toasts";
import { onUserGone } from "./user";

const NAME = "notifications";

/** "unable": the browser has none, or none for a page like this. "blocked": its user has forbidden them. */
export type NotificationState = "unable" | "blocked" | "off" | "on";

export const notifications = signal<NotificationState>(stateNow());

function stateNow(): NotificationState {
  const api = globalThis.Notification;
  if (!api || !globalThis.isSecureContext) return "unable";
  if (api.permission === "denied") return "blocked";
  return api.permission === "granted" && flag(NAME) ? "on" : "off";
}

/** Turn them on, which asks the user. To be called by a click. */
export async function turnOn(): Promise<void> {
  storeFlag(NAME, (await Notification.requestPermission()) === "granted");
  notifications.value = stateNow();
}

export function turnOff(): void {
  storeFlag(NAME, false);
  notifications.value = stateNow();
}

/** Return the requests of a list that were in no earlier one. before: null: there was none, so nothing is new */
export function newOnes(before: ReadonlySet<number> | null, list: readonly WaitingRequest[]): readonly WaitingRequest[] {
  return before === null ? [] : list.filter((request) => !before.has(request.id));
}

let known: Set<number> | null = null;
onUserGone(() => (known = null)); // what waits for another user is new to nobody

/** Tell the user of requests that are new, unless they look at the page. open: called when they click */
export function noticeInbox(list: readonly WaitingRequest[], open: (threadId: string) => void): void {
  const fresh = newOnes(known, list);
  known = new Set([...(known ?? []), ...list.map((request) => request.id)]);
  const [first] = fresh;
  if (!first || notifications.value !== "on" || document.hasFocus()) return;
  const more = fresh.length > 1 ? ` (and ${fresh.length - 1} more)` : "";
  const shown = show(titleOf(first) + more, { body: harmless(titleOfThread(first)), tag: "threadhouse" });
  if (!shown) return;
  shown.onclick = () => {
    window.focus();
    open(first.threadId);
    shown.close();
  };
}

/** Show a notification. null: the browser cannot, as Chrome for Android, which says so only now; then they are off */
function show(title: string, options: NotificationOptions): Notification | null {
  try {
    return new Notification(title, options);
  } catch {
    turnOff();
    notifications.value = "unable";
    window.addEventListener("focus", () => say("This browser cannot show notifications, so they are off.", "error"), { once: true });
    return null;
  }
}
