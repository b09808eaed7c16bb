/** Messages that were sent into a running turn and that the model has not read: they stay when another page is opened. */
import type { Item, Notification } from "../protocol/types";
import { ofUser } from "./user";

export interface Steered {
  threadId: string;
  turnId: string;
  clientId: string;
  text: string;
  images: number;
}

export const steered = ofUser<readonly Steered[]>([]);

export function noteSteered(message: Steered): void {
  steered.value = [...steered.value, message];
}

/** Forget those that a turn's items show by now. */
export function forgetRead(turnId: string, items: readonly Item[]): void {
  const isRead = ({ clientId }: Steered) => items.some((item) => item.type === "userMessage" && item.clientId === clientId);
  keep((one) => one.turnId !== turnId || !isRead(one));
}

/** What a user's stream tells may be the end of a turn, and the thread's page need not be open then. */
export function noticeSteeredEvent(event: Notification): void {
  const isOver = event.method === "thread/deleted" || (event.method === "thread/status/changed" && event.params.status.type !== "active");
  if (isOver) keep((one) => one.threadId !== event.params.threadId);
}

function keep(isKept: (one: Steered) => boolean): void {
  const kept = steered.value.filter(isKept);
  if (kept.length < steered.value.length) steered.value = kept;
}
