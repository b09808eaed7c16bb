/** The list of threads, with their live status. */
import { effect } from "@preact/signals";
import { call, messageOf } from "../protocol/http";
import type { Methods, Notification, Thread } from "../protocol/types";
import { soon } from "./soon";
import { attempt, offerUndo, say } from "./toasts";
import { ofUser } from "./user";

const PAGE_THREADS = 50;
const TYPING_MS = 200;
const SOURCES: Methods["thread/list"]["params"]["sourceKinds"] = ["cli", "vscode", "exec", "appServer", "unknown"];

export const threads = ofUser<readonly Thread[] | null>(null);
export const listError = ofUser<string | null>(null);
export const searchTerm = ofUser("");
export const showArchived = ofUser(false);
export const nextPage = ofUser<string | null>(null);

/** Threads that are about to be deleted, unless the user undoes it. */
const leaving = ofUser<ReadonlySet<string>>(new Set());

let asked = 0;
let listed = ""; // what the list was searched for

/** Read the first page, or one more. */
export async function loadThreads(more = false): Promise<void> {
  const number = ++asked;
  try {
    const page = await call("thread/list", {
      limit: PAGE_THREADS,
      sortKey: "recency_at",
      searchTerm: searchTerm.value || null,
      archived: showArchived.value,
      sourceKinds: SOURCES,
      cursor: more ? nextPage.value : null,
    });
    if (number !== asked) return;
    const old = threads.value ?? [];
    const key = `${searchTerm.value} ${showArchived.value}`;
    const list = more ? [...old, ...page.data] : key === listed ? withFirstPage(old, page.data, page.nextCursor === null) : page.data;
    // Pages that were added stay, and with them the place where the next one begins.
    if (more || list.length === page.data.length) nextPage.value = page.nextCursor;
    listed = key;
    threads.value = visible(list);
    listError.value = null;
  } catch (error) {
    if (number === asked) listError.value = messageOf(error);
  }
}

/** Read the list whenever the search changes, once the typing pauses. Returns what ends that. */
export function followSearch(): () => void {
  return effect(() => {
    void searchTerm.value, showArchived.value;
    const timer = setTimeout(() => void loadThreads(), threads.peek() === null ? 0 : TYPING_MS);
    return () => clearTimeout(timer);
  });
}

/** Return a list whose first page was read again: what follows the page stays. isAll: nothing follows it */
export function withFirstPage(old: readonly Thread[], page: readonly Thread[], isAll: boolean): readonly Thread[] {
  const last = page.at(-1);
  if (isAll || last === undefined) return page;
  const read = new Set(page.map((thread) => thread.id));
  return [...page, ...old.filter((thread) => !read.has(thread.id) && recency(thread) < recency(last))];
}

function recency(thread: Thread): number {
  return thread.recencyAt ?? thread.updatedAt;
}

/** Return the list after an event; the same list: nothing has changed. */
export function listAfter(list: readonly Thread[], event: Notification): readonly Thread[] {
  const change = (id: string, changes: Partial<Thread>) =>
    list.map((thread) => (thread.id === id ? { ...thread, ...changes } : thread));
  switch (event.method) {
    case "thread/status/changed":
      return change(event.params.threadId, { status: event.params.status });
    case "thread/name/updated":
      return change(event.params.threadId, { name: event.params.threadName });
    case "thread/archived":
    case "thread/unarchived":
    case "thread/deleted":
      return list.filter((thread) => thread.id !== event.params.threadId);
    default:
      return list;
  }
}

export function noticeThreadEvent(event: Notification): void {
  if (threads.value === null) return;
  threads.value = listAfter(threads.value, event);
  // A thread that is new or was used goes to the top, which only the server's order says.
  const moves = ["thread/started", "thread/status/changed", "thread/unarchived"].includes(event.method);
  if (moves) loadThreadsSoon();
}

const loadThreadsSoon = soon(() => void loadThreads(), 1000);

export function titleOf(thread: { name: string | null; preview: string }): string {
  return thread.name || thread.preview.trim().split("\n")[0]?.slice(0, 200) || "New thread";
}

function visible(list: readonly Thread[]): readonly Thread[] {
  return list.filter((thread) => !leaving.value.has(thread.id));
}

// -- what a user does with a thread

/** Give a thread a name. Returns whether it went well. */
export function rename(threadId: string, name: string): Promise<boolean> {
  return attempt(async () => {
    await call("thread/name/set", { threadId, name });
    threads.value = threads.value && listAfter(threads.value, { method: "thread/name/updated", params: { threadId, threadName: name } });
  });
}

/** Copy a thread. Returns the copy, or null when the server refuses. */
export async function fork(threadId: string): Promise<Thread | null> {
  let copy: Thread | null = null;
  await attempt(async () => (copy = (await call("thread/fork", { threadId })).thread));
  if (copy) void loadThreads();
  return copy;
}

export function setArchived(threadId: string, archived: boolean): Promise<boolean> {
  return attempt(async () => {
    await call(archived ? "thread/archive" : "thread/unarchive", { threadId });
    threads.value = threads.value?.filter((thread) => thread.id !== threadId) ?? null;
    if (archived) offerUndo("Archived.", () => void setArchived(threadId, false).then(() => loadThreads()));
  });
}

/** Delete a thread in some seconds, so that it can be undone. */
export function deleteSoon(thread: Thread): void {
  leaving.value = new Set([...leaving.value, thread.id]);
  threads.value = threads.value && visible(threads.value);
  const stay = () => {
    leaving.value = new Set([...leaving.value].filter((id) => id !== thread.id));
    void loadThreads();
  };
  offerUndo(`Deleted “${titleOf(thread).slice(0, 60)}”.`, stay, async () => {
    try {
      await call("thread/delete", { threadId: thread.id }, { keepalive: true });
      return true;
    } catch (error) {
      say(`Not deleted: ${messageOf(error)}`, "error");
      stay();
      return false;
    }
  });
}
