/** The thread on the page: read, then followed. Events are applied together, however many come. */
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { call, isPassing, jsonOf, messageOf, send, ServerError } from "../protocol/http";
import { follow, type Position } from "../protocol/stream";
import type { Thread, ThreadEvent, Turn } from "../protocol/types";
import { paceOf } from "./pace";
import { readThread, reduceAll, settingsOf, type ThreadState, withOlder } from "./thread";

const PAGE_ITEMS = 25;
const PAGE_TURNS = 100;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/** Turns, oldest first, with those of their items that belong to the page. */
interface Page {
  turns: Turn[];
  /** Reads the page before this one; null: there is none. */
  before: (() => Promise<Page>) | null;
}

/** From where a thread is read and followed. */
export interface ThreadSource {
  eventsUrl: string;
  /** Of the requests for events. */
  options: RequestInit;
  /** Return the thread with its last turns, and what is before them. */
  read(): Promise<{ state: ThreadState; before: Page["before"] }>;
}

export interface OpenThread {
  state: Signal<ThreadState | null>;
  /** Why the thread cannot be shown. */
  error: Signal<string | null>;
  /** The connection is lost, and is being tried again. */
  trouble: Signal<string | null>;
  /** Grows when the page shall show the latest. */
  latest: Signal<number>;
  /** Older turns or items are not here yet. */
  hasOlder: ReadonlySignal<boolean>;
  /** Load a page of them, unless one is being loaded. arrives: called before they are in the state */
  loadOlder(arrives: () => void): Promise<void>;
  close(): void;
}

export function openThread(source: ThreadSource): OpenThread {
  const state = signal<ThreadState | null>(null);
  const error = signal<string | null>(null);
  const trouble = signal<string | null>(null);
  const latest = signal(0);
  const before = signal<Page["before"]>(null);
  const hasOlder = computed(() => before.value !== null);
  let isLoading = false;
  let waiting: ThreadEvent[] = [];
  let reading = 0; // counts reads, so that a later one supersedes an earlier one
  let isRead = false;
  let pauseMs = FIRST_PAUSE_MS; // before the next read, after one that failed
  let stop = () => {};
  const pace = paceOf(apply);
  const position: Position = { lastId: "" };

  function apply(): void {
    if (state.value === null || !isRead) return;
    const events = waiting;
    waiting = [];
    state.value = reduceAll(state.value, events);
    if (state.value.fate === "stale") void read();
    if (state.value.fate === "gone") error.value = "This thread was deleted.";
  }

  async function read(): Promise<void> {
    const number = ++reading;
    isRead = false;
    try {
      const found = await source.read();
      if (number !== reading) return;
      before.value = found.before;
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
        pace.hurry();
      },
      trouble: (message: string | null) => (trouble.value = message),
      refused: (problem: ServerError) => {
        if (problem.status !== 401) error.value = problem.message;
      },
    };
    stop = follow(source.eventsUrl, handlers, position, source.options);
  }

  async function loadOlder(arrives: () => void): Promise<void> {
    const readPage = before.value;
    if (readPage === null || isLoading) return;
    isLoading = true;
    try {
      const page = await readPage();
      if (before.value !== readPage || state.value === null) return; // the thread was read again
      arrives();
      before.value = page.before;
      state.value = withOlder(state.value, page.turns);
    } finally {
      isLoading = false;
    }
  }

  // A hidden page closes its stream, because a browser opens few connections to one server; it continues it later.
  const turn = () => (document.hidden ? stop() : connect());
  document.addEventListener("visibilitychange", turn);
  connect();
  const close = () => {
    document.removeEventListener("visibilitychange", turn);
    stop();
    pace.stop();
    reading += 1;
  };
  return { state, error, trouble, latest, hasOlder, loadOlder, close };
}

/** A thread of the user. */
export function ownThread(threadId: string): ThreadSource {
  return {
    eventsUrl: `/v2/thread/events?threadId=${encodeURIComponent(threadId)}`,
    options: {},
    read: () => readOwn(threadId),
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
  const ask = async (query: string) => (await jsonOf(await send(`/v2/thread/shared${query}`, options))) as SharedPage;
  const pageOf = ({ turns, nextCursor }: SharedPage): Page => ({
    turns: turns.reverse(),
    before: nextCursor === null ? null : async () => pageOf(await ask(`?cursor=${encodeURIComponent(nextCursor)}`)),
  });
  return {
    eventsUrl: "/v2/thread/shared/events",
    options,
    read: async () => {
      const answer = await ask("");
      const { turns, before } = pageOf(answer);
      return { state: readThread(answer.thread, turns, null), before };
    },
  };
}

/** Read a thread with its last items. Errors: ServerError */
async function readOwn(threadId: string): Promise<{ state: ThreadState; before: Page["before"] }> {
  const { thread } = await call("thread/read", { threadId });
  let isArchived = false;
  const [session, last] = await Promise.all([
    call("thread/resume", { threadId, excludeTurns: true }).catch((error) => {
      // An archived thread has no session, and is shown without its settings. Nothing else tells that it is archived.
      isArchived = error instanceof ServerError && error.status === 409;
      return unlessRefused(error);
    }),
    // A thread to which nobody has written yet has no turns to list.
    thread.preview === "" ? readLast(threadId).catch(unlessRefused) : readLast(threadId),
  ]);
  const state = readThread(session?.thread ?? thread, last?.turns ?? [], session && settingsOf(session));
  return { state: { ...state, isArchived }, before: last?.before ?? null };
}

interface TurnList {
  /** Newest first, without items. */
  data: readonly Turn[];
  nextCursor: string | null;
}

function listTurns(threadId: string, cursor: string | null): Promise<TurnList> {
  return call("thread/turns/list", { threadId, cursor, limit: PAGE_TURNS, sortDirection: "desc", itemsView: "notLoaded" });
}

/** Turns are read before items: so a turn that ends meanwhile is open here, and its last items come as events. */
async function readLast(threadId: string): Promise<Page> {
  return readItems(threadId, null, await listTurns(threadId, null));
}

/** Read the page of items at a cursor. list: of turns, from the newest one that may have an item of the page */
async function readItems(threadId: string, cursor: string | null, list: TurnList): Promise<Page> {
  const { data, nextCursor } = await call("thread/items/list", { threadId, cursor, limit: PAGE_ITEMS, sortDirection: "desc" });
  const first = data.at(-1)?.turnId ?? "";
  while (list.nextCursor !== null && (list.data.at(-1)?.id ?? "") > first) {
    const older = await listTurns(threadId, list.nextCursor);
    list = { data: [...list.data, ...older.data], nextCursor: older.nextCursor };
  }
  const oldestFirst = [...data].reverse();
  const itemsOf = ({ id }: Turn) => oldestFirst.filter((entry) => entry.turnId === id).map((entry) => entry.item);
  const isShown = ({ id }: Turn) => nextCursor === null || id >= first;
  const turns = list.data.filter(isShown).map((turn) => ({ ...turn, items: itemsOf(turn) }));
  const rest = { ...list, data: list.data.filter(({ id }) => id <= first) };
  return { turns: turns.reverse(), before: nextCursor === null ? null : () => readItems(threadId, nextCursor, rest) };
}

function unlessRefused(error: unknown): null {
  if (error instanceof ServerError && !isPassing(error) && error.status !== 401) return null;
  throw error;
}
