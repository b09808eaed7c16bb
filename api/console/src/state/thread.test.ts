/** The reducer over recorded streams (tests/console/record.py) gives what thread/read answers. */
import { describe, expect, it, test } from "vitest";
import type { Notification, Thread, ThreadEvent, Turn } from "../protocol/types";
import { readThread, reduce, reduceAll, type ThreadState } from "./thread";

interface Recording {
  read: Thread;
  events: ThreadEvent[];
  turns: Turn[];
}

const files = import.meta.glob<Recording>("./recordings/*.json", { eager: true, import: "default" });
const recordings = Object.fromEntries(
  Object.entries(files).map(([file, recorded]) => [file.replace(/^.*\/|\.json$/g, ""), recorded]),
);

/** Return the turns as thread/read answers them. */
function turnsOf(state: ThreadState): Turn[] {
  return state.turns.map(({ plan: _, notices: __, items, ...turn }) => ({ ...turn, items: [...items], itemsView: "full" }));
}

function recording(name: string): Recording {
  const found = recordings[name];
  if (found === undefined) throw new Error(`no recording ${name}`);
  return found;
}

function play(name: string, wanted: (event: ThreadEvent) => boolean): ThreadState {
  const { read, events } = recording(name);
  const end = events.findIndex(wanted);
  expect(end).toBeGreaterThan(0);
  return reduceAll(readThread(read, [], null), events.slice(0, end + 1));
}

const is =
  (method: Notification["method"]) =>
  (event: ThreadEvent): boolean =>
    event.method === method;

describe.each(Object.keys(recordings))("%s", (name) => {
  const { read, events, turns } = recording(name);
  const start = readThread(read, [], null);

  it("gives what thread/read answers", () => {
    const end = reduceAll(start, events);

    expect(turnsOf(end)).toEqual(turns);
    expect(end.requests).toEqual([]);
  });

  it("is the same when events come again on top of what was read", () => {
    const later = readThread(read, turns, null);

    for (let from = 0; from < events.length; from++) {
      expect(turnsOf(reduceAll(later, events.slice(from)))).toEqual(turns);
    }
  });

  it("is the same wherever the thread was read", () => {
    // What thread/read answers in mid-turn: the completed items of the turns so far.
    for (let at = 0; at < events.length; at++) {
      const then = reduceAll(start, events.slice(0, at));
      const readThen = turnsOf(then).map((turn) => ({ ...turn, items: turn.items.filter((item) => item.completedAtMs) }));
      const again = reduceAll(readThread(read, readThen, null), events);
      const last = turnsOf(again).map((turn) => ({ ...turn, items: turn.items.map((item) => item.id) }));
      expect(last).toEqual(turns.map((turn) => ({ ...turn, items: turn.items.map((item) => item.id) })));
    }
  });

  it("changes no state that it was given", () => {
    const frozen = (value: unknown): void => {
      if (typeof value !== "object" || value === null || Object.isFrozen(value)) return;
      Object.freeze(value);
      Object.values(value).forEach(frozen);
    };
    let state = start;
    for (const event of events) {
      frozen(state);
      frozen(event);
      state = reduce(state, event);
    }
    expect(turnsOf(state)).toEqual(turns);
  });
});

test("a message grows with its deltas", () => {
  const state = play("talk", is("item/agentMessage/delta"));
  const item = state.turns[0]?.items.at(-1);

  expect(item?.type === "agentMessage" && item.text.length).toBeGreaterThan(0);
});

test("a request waits until it is answered", () => {
  const waits = play("approval", (event) => event.id !== undefined);

  expect(waits.requests.map((request) => request.method)).toEqual(["item/commandExecution/requestApproval"]);
  expect(waits.thread.status).toEqual({ type: "active", activeFlags: ["waitingOnApproval"] });
});

test("a request that is sent again is shown once", () => {
  const waits = play("approval", (event) => event.id !== undefined);
  const [request] = waits.requests;

  expect(reduce(waits, request as ThreadEvent)).toBe(waits);
});

test("a plan shows its steps", () => {
  const state = play("plan", is("turn/plan/updated"));

  expect(state.turns[0]?.plan.map((step) => step.status)).toEqual(["completed", "inProgress"]);
});

test("a retry begins the answer anew and says why", () => {
  const state = play("retried", is("error"));

  expect(state.turns[0]?.items.every((item) => item.type === "userMessage")).toBe(true);
  expect(state.turns[0]?.notices).toHaveLength(1);
});

test("a missed event makes the state stale, and a deletion ends it", () => {
  const start = readThread(recording("talk").read, [], null);
  const params = { threadId: start.thread.id };

  expect(reduce(start, { method: "thread/deleted", params }).fate).toBe("gone");
  expect(reduce(start, { method: "threadhouse/cursorExpired", params: { ...params, message: "" } }).fate).toBe("stale");
});

test("unknown events and events of unknown turns change nothing", () => {
  const start = readThread(recording("talk").read, [], null);
  const unknown = { method: "some/new", params: {} } as unknown as ThreadEvent;
  const foreign = { threadId: "t", turnId: "nobody", itemId: "i", delta: "x" };

  expect(reduce(start, unknown)).toBe(start);
  expect(reduce(start, { method: "item/agentMessage/delta", params: foreign })).toBe(start);
});

test("an event that cannot be applied has the thread read again", () => {
  const start = readThread(recording("talk").read, [], null);
  const broken = { method: "turn/started", params: { threadId: start.thread.id, turn: null } } as unknown as ThreadEvent;

  expect(reduceAll(start, [broken]).fate).toBe("stale");
});
