/** Recorded streams: what a client got of a thread, and what the server answered about the thread at the end. */
import type { ServerRequest, Session, Thread, ThreadEvent, Turn } from "../protocol/types";
import { readThread, reduceAll, settingsOf, type ThreadState } from "./thread";

export interface Recording {
  /** The result of thread/start, thread/fork or thread/resume. */
  session: Session;
  events: ThreadEvent[];
  /** Of thread/read, with all turns; null: the thread was deleted. */
  end: Thread | null;
  /** Those of serverRequest/list at the end. */
  requests: ServerRequest[];
}

/** What the state of a thread and thread/read have in common. */
export interface Facts {
  thread: Partial<Pick<Thread, "name" | "preview" | "status" | "cwd" | "model" | "reasoningEffort">>;
  turns: Turn[];
  requests: { id: number; method: string }[];
}

export function startOf({ session }: Recording): ThreadState {
  return readThread(session.thread, session.thread.turns, settingsOf(session));
}

/** Return the facts of a state, without what thread/read does not show: open items. */
export function factsOf({ thread: { name, preview, status, cwd }, turns, requests, settings }: ThreadState): Facts {
  return {
    thread: { name, preview, status, cwd, model: settings?.model, reasoningEffort: settings?.effort },
    turns: turns.map(({ plan: _, notices: __, items, ...turn }) => ({ ...turn, items: items.filter(isComplete), itemsView: "full" })),
    requests: requests.map(({ id, method }) => ({ id, method })),
  };
}

/** Return the facts that the server answered at the end; null: the thread was deleted. */
export function factsAtEnd({ end, requests }: Recording): Facts | null {
  if (end === null) return null;
  const { name, preview, status, cwd, model, reasoningEffort, turns } = end;
  return { thread: { name, preview, status, cwd, model, reasoningEffort }, turns, requests: requests.map(({ id, method }) => ({ id, method })) };
}

function isComplete(item: Turn["items"][number]): boolean {
  return item.completedAtMs !== null;
}

/** Return how the reduced stream of a recording differs from what the server answered, a line each. */
export function differences(recording: Recording): string[] {
  const state = reduceAll(startOf(recording), recording.events);
  const wanted = factsAtEnd(recording);
  if (state.fate === "stale") return []; // a client reads such a thread again
  if (wanted === null) return state.fate === "gone" ? [] : ["the thread is deleted, and no event said so"];
  return unlike("", factsOf(state), withoutQueued(wanted));
}

/** No event tells of a turn that is queued, and of what it changes of its thread. */
function withoutQueued(facts: Facts): Facts {
  const begun = facts.turns.filter((turn) => turn.status !== "inProgress" || turn.startedAt !== null);
  return begun.length === facts.turns.length ? facts : { ...facts, turns: begun, thread: {} };
}

function unlike(place: string, got: unknown, wanted: unknown): string[] {
  if (Object.is(got, wanted)) return [];
  if (typeof got !== "object" || typeof wanted !== "object" || got === null || wanted === null) {
    return [`${place}: ${JSON.stringify(got)?.slice(0, 200)}, thread/read: ${JSON.stringify(wanted)?.slice(0, 200)}`];
  }
  const names = new Set(Object.keys(place === "/thread" ? wanted : { ...got, ...wanted }));
  return [...names].flatMap((name) => unlike(`${place}/${name}`, Reflect.get(got, name), Reflect.get(wanted, name)));
}
