/** What all threads of the user ask, and nobody has answered; and the stream that tells of it. */
import { call, messageOf, respond, ServerError } from "../protocol/http";
import { follow } from "../protocol/stream";
import type { Notification, WaitingRequest } from "../protocol/types";
import { noticeInbox } from "./notifications";
import { advanceAll, noticeQueueEvent } from "./queue";
import { go } from "./route";
import { loadThreads, noticeThreadEvent, threads } from "./threads";
import { soon } from "./soon";
import { noticeSteeredEvent } from "./steered";
import { attempt } from "./toasts";
import { ofUser } from "./user";

const POLL_MS = 30_000;

export const inbox = ofUser<readonly WaitingRequest[] | null>(null);
export const inboxError = ofUser<string | null>(null);
export const offline = ofUser<string | null>(null);

let asked = 0;

export async function loadInbox(): Promise<void> {
  const number = ++asked;
  let data: readonly WaitingRequest[];
  try {
    ({ data } = await call("serverRequest/list", { limit: 200 }));
  } catch (error) {
    if (number === asked) inboxError.value = messageOf(error);
    return;
  }
  if (number !== asked) return;
  inbox.value = data;
  inboxError.value = null;
  noticeInbox(data, (threadId) => go({ page: "thread", threadId })); // last, and its errors are not the inbox's
}

/** Answer a server request. Returns whether it is over. */
export async function answer(requestId: number, result: object): Promise<boolean> {
  let isOver = true;
  await attempt(() =>
    respond(requestId, result).catch((error) => {
      isOver = error instanceof ServerError && error.status === 409;
      throw error;
    }),
  );
  if (!isOver) return false;
  inbox.value = inbox.value?.filter((request) => request.id !== requestId) ?? null;
  void loadInbox();
  return true;
}

/**
 * Keep list and inbox up to date until the returned function is called.
 *
 * A hidden page closes its stream, because a browser opens few connections to one server, and asks now and then.
 */
export function followUser(): () => void {
  let stop: (() => void) | null = null;
  const refresh = () => {
    void loadInbox();
    advanceAll();
    if (threads.peek() !== null && !document.hidden) void loadThreads();
  };
  const open = () => {
    stop ??= follow("/v2/user/events", {
      opened: refresh,
      event: (event) => notice(event as Notification),
      trouble: (message) => (offline.value = message),
      refused: (error) => error.status === 401 || (offline.value = error.message),
    });
  };
  const close = () => (stop?.(), (stop = null));
  const turn = () => (document.hidden ? close() : open());
  const timer = window.setInterval(() => document.hidden && (void loadInbox(), advanceAll()), POLL_MS);
  document.addEventListener("visibilitychange", turn);
  turn();
  if (document.hidden) refresh();
  return () => {
    document.removeEventListener("visibilitychange", turn);
    clearInterval(timer);
    close();
  };
}

function notice(event: Notification): void {
  noticeThreadEvent(event);
  noticeQueueEvent(event);
  noticeSteeredEvent(event);
  const { params } = event;
  if (!("threadId" in params)) return;
  const asks = event.method === "thread/status/changed" && (event.params.status.activeFlags ?? []).length > 0;
  if (asks || inbox.value?.some((request) => request.threadId === params.threadId)) loadInboxSoon();
}

const loadInboxSoon = soon(() => void loadInbox(), 300);
