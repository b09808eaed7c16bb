/** The reducer over recorded streams (tests/console/record.py, `make console-streams`) gives what thread/read answers. */
import { describe, expect, it, test } from "vitest";
import type { Item, Notification, ThreadEvent } from "../protocol/types";
import { differences, factsOf, type Recording, startOf } from "./recording";
import { readThread, reduce, reduceAll, type ThreadState, withOlder } from "./thread";

const files = import.meta.glob<Recording>("./recordings/**/*.json", { eager: true, import: "default" });
const recordings = Object.fromEntries(
  Object.entries(files).map(([file, recorded]) => [file.replace(/^.*\/|\.json$/g, ""), recorded]),
);

function recording(name: string): Recording {
  const found = recordings[name];
  if (found === undefined) throw new Error(`no recording ${name}`);
  return found;
}

/** Return the state in which the server was at the end of a recording, and what a client still has to answer then. */
function endOf({ end, requests }: Recording): ThreadState {
  if (end === null) throw new Error("the thread was deleted");
  return { ...readThread(end, end.turns, null), requests };
}

function idsOf(turns: readonly { id: string; items: readonly Item[] }[]): unknown {
  return turns.map(({ id, items }) => ({ id, items: items.map((item) => item.id) }));
}

function play(name: string, wanted: (event: ThreadEvent) => boolean): ThreadState {
  const { events } = recording(name);
  const end = events.findIndex(wanted);
  expect(end).toBeGreaterThan(0);
  return reduceAll(startOf(recording(name)), events.slice(0, end + 1));
}

const is =
  (method: Notification["method"]) =>
  (event: ThreadEvent): boolean =>
    event.method === method;

test.each(Object.keys(recordings))("%s gives what thread/read answers", (name) => {
  expect(differences(recording(name))).toEqual([]);
});

const lasting = Object.keys(recordings).filter((name) => recording(name).end !== null);

describe.each(lasting)("%s", (name) => {
  const { events } = recording(name);
  const start = startOf(recording(name));
  const end = endOf(recording(name));

  it("is the same when events come again on top of what was read", () => {
    for (let from = 0; from < events.length; from++) {
      expect(factsOf(reduceAll(end, events.slice(from))).turns).toEqual(factsOf(end).turns);
    }
  });

  it("is the same wherever the thread was read", () => {
    // What thread/read answers in mid-turn: the completed items of the turns so far.
    for (let at = 0; at < events.length; at++) {
      const then = factsOf(reduceAll(start, events.slice(0, at)));
      const again = reduceAll(readThread(start.thread, then.turns, null), events);
      expect(idsOf(factsOf(again).turns)).toEqual(idsOf(factsOf(end).turns));
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
    expect(factsOf(state).turns).toEqual(factsOf(end).turns);
  });
});

test("the recordings have each type of item", () => {
  const items = lasting.flatMap((name) => endOf(recording(name)).turns.flatMap((turn) => turn.items));

  expect([...new Set(items.map((item) => item.type))].sort()).toEqual([
    "agentMessage",
    "commandExecution",
    "contextCompaction",
    "dynamicToolCall",
    "enteredReviewMode",
    "exitedReviewMode",
    "fileChange",
    "hookPrompt",
    "imageView",
    "mcpToolCall",
    "plan",
    "reasoning",
    "userMessage",
    "webSearch",
  ]);
});

test("a thread that is read a page of items at a time is the whole thread", () => {
  for (const name of lasting) {
    const end = endOf(recording(name));
    const log = end.turns.flatMap((turn) => turn.items.map((item) => ({ turn, item })));
    let state: ThreadState = { ...end, turns: [] };
    for (let size = log.length; size > 0; size -= 2) {
      const page = log.slice(Math.max(0, size - 3), size); // the last one comes twice
      const turns = end.turns.filter((turn) => page.some((entry) => entry.turn === turn));
      const itemsOf = (turn: unknown) => page.filter((entry) => entry.turn === turn).map((entry) => entry.item);
      state = withOlder(state, turns.map((turn) => ({ ...turn, items: itemsOf(turn), itemsView: "full" })));
    }
    expect(factsOf(state).turns).toEqual(factsOf(end).turns.filter((turn) => turn.items.length > 0));
  }
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

test("a command that runs on after its turn stays, and shows its output", () => {
  const goesOn = play("an_interrupt_leaves_the_command_running", is("turn/completed"));
  const end = endOf(recording("an_interrupt_leaves_the_command_running"));

  expect(goesOn.turns[0]?.status).toBe("interrupted");
  expect(goesOn.turns[0]?.items.map(({ type, completedAtMs }) => [type, completedAtMs !== null])).toEqual([
    ["userMessage", true],
    ["commandExecution", false],
  ]);
  expect(idsOf(goesOn.turns)).toEqual(idsOf(end.turns));
});

test("the first message becomes the preview", () => {
  const heading = "IDE context\n## My request for Codex:\n tidy up ";
  const written = (content: unknown[]) => {
    const item = { type: "userMessage", id: "i", content, startedAtMs: 1, completedAtMs: 1 };
    return { method: "item/completed", params: { threadId: "t", turnId: "u", item } } as unknown as ThreadEvent;
  };
  const previewOf = (...events: ThreadEvent[]) => reduceAll(startOf(recording("talk")), events).thread.preview;

  expect(previewOf(written([{ type: "text", text: heading }]))).toBe("tidy up");
  expect(previewOf(written([{ type: "image", url: "data:," }]), written([{ type: "text", text: "later" }]))).toBe("[Image]");
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

test.each(["agentMessage", "reasoning", "commandExecution"])("what a lost worker had begun to say ends when the next one begins a %s", (type) => {
  const torn = play("talk", is("item/agentMessage/delta"));
  const turn = torn.turns[0]!;
  const old = turn.items.at(-1)!;
  const begun = (id: string, startedAtMs: number) =>
    ({ method: "item/started", params: { threadId: torn.thread.id, turnId: turn.id, item: { ...old, type, id, startedAtMs } } }) as unknown as ThreadEvent;
  const idsNow = (state: ThreadState) => state.turns[0]?.items.map((item) => item.id);

  expect(idsNow(reduce(torn, begun("new", old.startedAtMs! + 1)))).toEqual([...turn.items.slice(0, -1).map((item) => item.id), "new"]);
  // A command that had begun before the message is told of again to who comes later.
  if (type === "commandExecution") expect(idsNow(reduce(torn, begun("earlier", 0)))).toContain(old.id);
});

test("an archived thread says so, and is read again when it is unarchived", () => {
  const start = startOf(recording("talk"));
  const params = { threadId: start.thread.id };
  const archived = reduce(start, { method: "thread/archived", params });

  expect([start.isArchived, archived.isArchived, archived.fate]).toEqual([false, true, "alive"]);
  expect(reduce(archived, { method: "thread/unarchived", params }).fate).toBe("stale");
});

test("a missed event makes the state stale, and a deletion ends it", () => {
  const start = startOf(recording("talk"));
  const params = { threadId: start.thread.id };

  expect(reduce(start, { method: "thread/deleted", params }).fate).toBe("gone");
  const asked = { ...start, requests: [{ id: 1, method: "item/tool/call", params: {} }] } as unknown as ThreadState;
  const expired = reduce(asked, { method: "threadhouse/cursorExpired", params: { ...params, message: "" } });
  expect([expired.fate, expired.requests]).toEqual(["stale", []]); // those that still wait are sent behind it
});

test("unknown events and events of unknown turns change nothing", () => {
  const start = startOf(recording("talk"));
  const unknown = { method: "some/new", params: {} } as unknown as ThreadEvent;
  const foreign = { threadId: "t", turnId: "nobody", itemId: "i", delta: "x" };

  expect(reduce(start, unknown)).toBe(start);
  expect(reduce(start, { method: "item/agentMessage/delta", params: foreign })).toBe(start);
});

test("an event that cannot be applied has the thread read again", () => {
  const start = startOf(recording("talk"));
  const broken = { method: "turn/started", params: { threadId: start.thread.id, turn: null } } as unknown as ThreadEvent;

  expect(reduceAll(start, [broken]).fate).toBe("stale");
});
