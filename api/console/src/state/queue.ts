/**
 * Messages that wait for the end of their thread's turn, each sent as a turn of its own, in order.
 *
 * The server has no such queue: turn/start adds to a turn that runs. So they are kept in this browser, a stored entry
 * each, which all windows of the user see. A window asks the server before it sends, and the id of a message makes it
 * harmless that two windows send it, or that one sends it again because it got no answer. A message leaves the queue
 * only after the server has said that it has it.
 */
import { call, isPassing, messageOf, ServerError } from "../protocol/http";
import type { Notification } from "../protocol/types";
import { inputOf, newId } from "./message";
import { ofUser, onUserGone } from "./user";

const PREFIX = "queue:";
const RETRY_MS = 5000;

export interface QueuedMessage {
  /** Where it is stored: PREFIX, user, thread, place, id */
  key: string;
  threadId: string;
  id: string;
  text: string;
  images: readonly string[];
}

/** By thread, the first one first. */
export const queues = ofUser<ReadonlyMap<string, readonly QueuedMessage[]>>(new Map());
/** Why the first message of a thread is not sent, by thread. */
export const held = ofUser<ReadonlyMap<string, string>>(new Map());
/** The messages on their way, by key. */
export const onTheWay = ofUser<ReadonlySet<string>>(new Set());
/** The message that is being edited in this window, which does not send it meanwhile. */
export const editing = ofUser<QueuedMessage | null>(null);

let userId = "";
const busy = new Set<string>(); // threads for which this window asks the server now
const again = new Map<string, boolean>(); // threads for which it shall ask once more then, and the user's wish
const timers = new Map<string, ReturnType<typeof setTimeout>>();
onUserGone(() => {
  userId = "";
  busy.clear();
  again.clear();
});

/** Keep the queues of a user, and send what may be sent, until the returned function is called. */
export function followQueues(user: string): () => void {
  userId = user;
  read();
  const changed = (event: StorageEvent) => event.key?.startsWith(PREFIX) && read();
  addEventListener("storage", changed);
  advanceAll();
  return () => {
    removeEventListener("storage", changed);
    timers.forEach(clearTimeout);
    timers.clear();
  };
}

/** Put a message at the end of a thread's queue. Errors: Error, when this browser cannot keep it */
export function enqueue(threadId: string, text: string, images: readonly string[]): void {
  const last = queues.value.get(threadId)?.at(-1);
  const place = Math.max(Date.now(), last ? placeOf(last.key) + 1 : 0);
  store(`${PREFIX}${userId}:${threadId}:${String(place).padStart(15, "0")}:${newId()}`, text, images);
  advance(threadId);
}

/** Change a message that waits. Errors: Error, when it was sent or removed meanwhile, or cannot be kept */
export function change(message: QueuedMessage, text: string): void {
  if (localStorage.getItem(message.key) === null || onTheWay.value.has(message.key)) {
    throw new Error("The message was sent or removed meanwhile. Your change is still here: copy it.");
  }
  store(message.key, text, message.images);
}

export function remove(message: QueuedMessage): void {
  localStorage.removeItem(message.key);
  read();
}

/** Remove all messages of a user: for when they sign out, and leave nothing behind. */
export function forgetQueues(user: string): void {
  for (const key of keysOf(user)) localStorage.removeItem(key);
  read();
}

export function advanceAll(): void {
  for (const threadId of queues.value.keys()) advance(threadId);
}

/** What a user's stream tells may be the end of a turn. */
export function noticeQueueEvent(event: Notification): void {
  if (event.method === "thread/status/changed" && queues.value.has(event.params.threadId)) advance(event.params.threadId);
}

/** Send the first message of a thread, if no turn runs there. isAsked: also after a turn that failed or was interrupted */
export function advance(threadId: string, isAsked = false): void {
  if (busy.has(threadId)) {
    again.set(threadId, isAsked || again.get(threadId) === true); // its answer may be older than what has just happened
    return;
  }
  busy.add(threadId);
  void sendFirst(threadId, isAsked).finally(() => {
    busy.delete(threadId);
    const wish = again.get(threadId);
    again.delete(threadId);
    if (wish !== undefined) advance(threadId, wish);
  });
}

async function sendFirst(threadId: string, isAsked: boolean): Promise<void> {
  const first = () => queues.value.get(threadId)?.[0];
  if (!first()) return;
  clearTimeout(timers.get(threadId));
  try {
    const [last] = (await call("thread/turns/list", { threadId, limit: 1, itemsView: "notLoaded" })).data;
    if (last?.status === "inProgress") return hold(threadId, null);
    if (last && last.status !== "completed" && !isAsked) {
      return hold(threadId, last.status === "failed" ? "The last turn has failed." : "The last turn was interrupted.");
    }
    read();
    const message = first();
    if (message && editing.value?.key !== message.key) await send(threadId, message);
  } catch (error) {
    if (error instanceof ServerError && error.status === 404 && error.isOwn) {
      queues.value.get(threadId)?.forEach(remove); // the thread is deleted
      return;
    }
    hold(threadId, messageOf(error));
    if (isPassing(error)) {
      const pauseMs = Math.max(RETRY_MS, (error as ServerError).retryAfterMs ?? 0);
      timers.set(threadId, setTimeout(() => advance(threadId, isAsked), pauseMs));
    }
  }
}

async function send(threadId: string, { key, id, text, images }: QueuedMessage): Promise<void> {
  onTheWay.value = new Set([...onTheWay.value, key]);
  try {
    await call("turn/start", { threadId, input: inputOf(text, images), clientUserMessageId: id });
    localStorage.removeItem(key);
    hold(threadId, null);
  } finally {
    onTheWay.value = new Set([...onTheWay.value].filter((other) => other !== key));
    read();
  }
}

function hold(threadId: string, why: string | null): void {
  const others = [...held.value].filter(([other]) => other !== threadId);
  held.value = new Map(why === null ? others : [...others, [threadId, why]]);
}

// -- what the browser keeps

function store(key: string, text: string, images: readonly string[]): void {
  try {
    localStorage.setItem(key, JSON.stringify({ text, images }));
  } catch {
    throw new Error("This browser cannot keep the message: it is too large, or storage is off. Steer with it, or send it when the turn has ended.");
  }
  read();
}

function keysOf(user: string): string[] {
  try {
    const all = Array.from({ length: localStorage.length }, (_, index) => localStorage.key(index) ?? "");
    return all.filter((key) => key.startsWith(`${PREFIX}${user}:`)).sort();
  } catch {
    return []; // storage is turned off
  }
}

function placeOf(key: string): number {
  return Number(key.split(":")[3]);
}

function read(): void {
  const found = new Map<string, QueuedMessage[]>();
  for (const key of keysOf(userId)) {
    const [, , threadId = "", , id = ""] = key.split(":");
    try {
      const { text, images } = JSON.parse(localStorage.getItem(key) ?? "");
      found.set(threadId, [...(found.get(threadId) ?? []), { key, threadId, id, text: String(text), images }]);
    } catch {
      // Another window has just removed it, or it is none of ours.
    }
  }
  queues.value = found;
}
