/** The queue of messages: what it sends, in which order, and that it loses and repeats nothing. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { advance, change, editing, enqueue, followQueues, forgetQueues, held, noticeQueueEvent, queues, remove } from "./queue";

type Answer = { status: number; body: object };
let turns: { status: string }[];
let sent: { text: string; id: string }[];
let refuse: Answer | null;
let stop = () => {};

class Storage {
  readonly kept = new Map<string, string>();
  get length() {
    return this.kept.size;
  }
  key = (index: number) => [...this.kept.keys()][index] ?? null;
  getItem = (key: string) => this.kept.get(key) ?? null;
  removeItem = (key: string) => void this.kept.delete(key);
  setItem = (key: string, value: string) => {
    if (value.length > 1000) throw new DOMException("full", "QuotaExceededError");
    this.kept.set(key, value);
  };
}

/** A server with one thread, on which turn/start begins a turn. */
async function serve(path: string, { body }: { body: string }): Promise<Response> {
  const params = JSON.parse(body);
  if (path.endsWith("thread/turns/list")) return Response.json({ data: turns.slice(-1) });
  if (refuse) return Response.json(refuse.body, { status: refuse.status });
  sent.push({ text: params.input[0].text, id: params.clientUserMessageId });
  turns.push({ status: "inProgress" });
  return Response.json({ turn: {} });
}

const end = (status = "completed") => {
  turns.at(-1)!.status = status;
  noticeQueueEvent({ method: "thread/status/changed", params: { threadId: "t", status: { type: "idle" } } } as never);
};
const waiting = () => (queues.value.get("t") ?? []).map(({ text }) => text);
const texts = () => sent.map(({ text }) => text);
const later = setTimeout; // of the runtime, below
const settled = async () => {
  for (let step = 0; step < 5; step++) await new Promise((done) => later(done, 0));
};

beforeEach(() => {
  turns = [{ status: "inProgress" }];
  sent = [];
  refuse = null;
  vi.stubGlobal("localStorage", new Storage());
  vi.stubGlobal("fetch", serve);
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("removeEventListener", () => {});
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  stop = followQueues("ann");
});
afterEach(() => {
  stop();
  forgetQueues("ann");
  held.value = new Map();
  vi.useRealTimers();
});

test("messages are sent in order, one a turn, when a turn is done", async () => {
  for (const text of ["one", "two", "three"]) enqueue("t", text, []);
  await settled();
  expect([texts(), held.value.size]).toEqual([[], 0]); // they wait, and nothing is wrong

  end();
  await settled();
  expect([texts(), waiting()]).toEqual([["one"], ["two", "three"]]);
  end();
  await settled();
  end();
  await settled();
  expect([texts(), waiting()]).toEqual([["one", "two", "three"], []]);
});

test("many events at once send a message once", async () => {
  enqueue("t", "one", []);
  turns.at(-1)!.status = "completed";
  for (let times = 0; times < 5; times++) advance("t");
  await settled();
  expect(texts()).toEqual(["one"]);
});

test("another start of the page has the messages, those of another user are not touched", async () => {
  enqueue("t", "one", []);
  await settled();
  stop();
  stop = followQueues("bob");
  end();
  await settled();
  expect([texts(), waiting()]).toEqual([[], []]);
  stop();
  stop = followQueues("ann");
  await settled();
  expect(texts()).toEqual(["one"]);
});

test.each([
  ["failed", "The last turn has failed."],
  ["interrupted", "The last turn was interrupted."],
])("a turn that %s holds the messages until the user sends them", async (status, why) => {
  enqueue("t", "one", []);
  end(status);
  await settled();
  expect([texts(), held.value.get("t")]).toEqual([[], why]);

  advance("t", true);
  await settled();
  expect([texts(), held.value.get("t")]).toEqual([["one"], undefined]);
});

test("what the server refuses stays, with the reason, and goes with the same id later", async () => {
  enqueue("t", "one", []);
  const id = queues.value.get("t")![0]!.id;
  refuse = { status: 503, body: { detail: "It drains.", retryAfterMs: 1000 } };
  end();
  await settled();
  expect([waiting(), held.value.get("t")]).toEqual([["one"], "It drains."]);

  refuse = null;
  await vi.advanceTimersByTimeAsync(5000);
  await settled();
  expect([sent, waiting()]).toEqual([[{ text: "one", id }], []]);
});

test("a message is changed and removed while it waits, and is not sent while it is edited", async () => {
  enqueue("t", "one", []);
  enqueue("t", "two", []);
  enqueue("t", "three", []);
  await settled();
  const [one, two] = queues.value.get("t")!;
  remove(two!);
  editing.value = one!;
  end();
  await settled();
  expect(texts()).toEqual([]);

  change(one!, "ONE");
  editing.value = null;
  advance("t");
  await settled();
  expect([texts(), waiting()]).toEqual([["ONE"], ["three"]]);
  expect(() => change(one!, "again")).toThrow("sent or removed meanwhile");
});

test("a message that the browser cannot keep is refused", () => {
  expect(() => enqueue("t", "x".repeat(2000), [])).toThrow("cannot keep the message");
  expect(waiting()).toEqual([]);
});

test("nothing is left of a user who signs out", () => {
  enqueue("t", "one", []);
  forgetQueues("ann");
  expect([waiting(), localStorage.length]).toEqual([[], 0]);
});

test("a deleted thread has no queue; an answer of something on the way to the server deletes none", async () => {
  refuse = { status: 404, body: {} };
  enqueue("t", "first", []);
  end();
  await settled();
  expect([waiting(), held.value.get("t")]).toEqual([["first"], "The server answered 404. Try again."]);

  refuse = { status: 404, body: { detail: "thread not found: t", code: -32600 } };
  advance("t");
  await settled();
  expect(waiting()).toEqual([]);
});
