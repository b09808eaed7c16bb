/** The thread on the page: read, then followed. Events are applied once per frame, however many come. */
import { type Signal, signal } from "@preact/signals";
import { call, isPassing, messageOf, send, ServerError } from "../protocol/http";
import { follow, type Position } from "../protocol/stream";
import type { Thread, ThreadEvent, Turn } from "../protocol/types";
import { readThread, readTurn, reduceAll, settingsOf, type ThreadState } from "./thread";

const PAGE_TURNS = 20;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

interface TurnsPage {
  /** Newest first. */
  data: readonly Turn[];
  nextCursor: string | null;
}

/** From where a thread is read and followed. */
export interface ThreadSource {
  eventsUrl: string;
  /** Of the requests for events. */
  options: RequestInit;
  read(): Promise<{ state: ThreadState; older: string | null }>;
  readOlder(cursor: string): Promise<TurnsPage>;
}

export interface OpenThread {
  state: Signal<ThreadState | null>;
  /** Why the thread cannot be shown. */
  error: Signal<string | null>;
  /** The connection is lost, and is being tried again. */
  trouble: Signal<string | null>;
  /** Where older turns begin; null: all are here. */
  older: Signal<string | null>;
  loadOlder(): Promise<void>;
  close(): void;
}

export function openThread(source: ThreadSource): OpenThread {
  const state = signal<ThreadState | null>(null);
  const error = signal<string | null>(null);
  const trouble = signal<string | null>(null);
  const older = signal<string | null>(null);
  let waiting: ThreadEvent[] = [];
  let frame = 0;
  let reading = 0; // counts reads, so that a later one supersedes an earlier one
  let isRead = false;
  let pauseMs = FIRST_PAUSE_MS; // before the next read, after one that failed
  let stop = () => {};
  const position: Position = { lastId: "" };

  function apply(): void {
    frame = 0;
    if (state.value === null || !isRead) return;
    const events = waiting;
    waiting = [];
    state.value = reduceAll(state.value, events);
    if (state.value.fate === "stale") void read();
    if (state.value.fate === "gone") error.value = "This thread was deleted.";
  }

  function schedule(): void {
    if (frame === 0) frame = document.hidden ? window.setTimeout(apply, 200) : requestAnimationFrame(apply);
  }

  async function read(): Promise<void> {
    const number = ++reading;
    isRead = false;
    try {
      const found = await source.read();
      if (number !== reading) return;
      older.value = found.older;
      const requests = state.value?.requests ?? [];
      state.value = { ...found.state, requests, usage: state.value?.usage ?? null };
      isRead = true;
      pauseMs = FIRST_PAUSE_MS;
      error.value = null;
      apply();
    } catch (problem) {
      if (number !== reading) return;
      stop(); // or events would pile up that nothing applies
      position.lastId = "";
      if (isPassing(problem)) retry(problem as ServerError);
      else error.value = messageOf(problem);
    }
  }

  function retry(problem: ServerError): void {
    trouble.value = problem.message;
    const timer = window.setTimeout(connect, Math.max(pauseMs, problem.retryAfterMs ?? 0));
    pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
    stop = () => clearTimeout(timer);
  }

  function connect(): void {
    stop();
    const handlers = {
      opened: (fresh: boolean) => {
        if (!fresh) return;
        waiting = [];
        if (state.value) state.value = { ...state.value, requests: [] }; // the stream begins with those that wait
        void read();
      },
      event: (event: ThreadEvent) => {
        waiting.push(event);
        schedule();
      },
      trouble: (message: string | null) => (trouble.value = message),
      refused: (problem: ServerError) => {
        if (problem.status !== 401) error.value = problem.message;
      },
    };
    stop = follow(source.eventsUrl, handlers, position, source.options);
  }

  async function loadOlder(): Promise<void> {
    if (older.value === null) return;
    const page = await source.readOlder(older.value);
    older.value = page.nextCursor;
    if (state.value === null) return;
    const known = new Set(state.value.turns.map((turn) => turn.id));
    const added = page.data.filter((turn) => !known.has(turn.id)).reverse();
    state.value = { ...state.value, turns: [...added.map(readTurn), ...state.value.turns] };
  }

  // A hidden page closes its stream, because a browser opens few connections to one server; it continues it later.
  const turn = () => (document.hidden ? stop() : connect());
  document.addEventListener("visibilitychange", turn);
  connect();
  const close = () => {
    document.removeEventListener("visibilitychange", turn);
    stop();
    reading += 1;
  };
  return { state, error, trouble, older, loadOlder, close };
}

/** A thread of the user. */
export function ownThread(threadId: string): ThreadSource {
  const page = { threadId, limit: PAGE_TURNS, sortDirection: "desc", itemsView: "full" } as const;
  return {
    eventsUrl: `/v2/thread/events?threadId=${encodeURIComponent(threadId)}`,
    options: {},
    read: () => readAll(threadId),
    readOlder: (cursor) => call("thread/turns/list", { ...page, cursor }),
  };
}

interface SharedPage {
  thread: Pick<Thread, "id" | "name" | "preview" | "status" | "cwd" | "createdAt" | "updatedAt">;
  turns: Turn[];
  nextCursor: string | null;
}

/** The thread that a share link opens. The link's secret is sent in a header, and no cookie with it. */
export function sharedThread(secret: string): ThreadSource {
  const options: RequestInit = { credentials: "omit", headers: { Authorization: `Share ${secret}` } };
  const ask = async (query: string) => (await (await send(`/v2/thread/shared${query}`, options)).json()) as SharedPage;
  return {
    eventsUrl: "/v2/thread/shared/events",
    options,
    read: async () => {
      const { thread, turns, nextCursor } = await ask("");
      return { state: readThread(thread, turns.reverse(), null), older: nextCursor };
    },
    readOlder: async (cursor) => {
      const { turns, nextCursor } = await ask(`?cursor=${encodeURIComponent(cursor)}`);
      return { data: turns, nextCursor };
    },
  };
}

/** Read a thread with its last turns. Errors: ServerError */
async function readAll(threadId: string): Promise<{ state: ThreadState; older: string | null }> {
  const { thread } = await call("thread/read", { threadId });
  const page = { threadId, limit: PAGE_TURNS, sortDirection: "desc", itemsView: "full" } as const;
  const [session, turns] = await Promise.all([
    // An archived thread has no session, and is shown without its settings.
    call("thread/resume", { threadId, excludeTurns: true }).catch(unlessRefused),
    // A thread to which nobody has written yet has no turns to list.
    thread.preview === "" ? call("thread/turns/list", page).catch(unlessRefused) : call("thread/turns/list", page),
  ]);
  const oldestFirst: Turn[] = [...(turns?.data ?? [])].reverse();
  const state = readThread(session?.thread ?? thread, oldestFirst, session && settingsOf(session));
  return { state, older: turns?.nextCursor ?? null };
}

function unlessRefused(error: unknown): null {
  if (error instanceof ServerError && !isPassing(error) && error.status !== 401) return null;
  throw error;
}
