/** Nothing of a user is left on the page when nobody or somebody else is signed in; what they typed is theirs alone. */
import { beforeEach, expect, test, vi } from "vitest";
import { call } from "../protocol/http";
import type { Thread, WaitingRequest } from "../protocol/types";
import { draftOf, forgetDrafts } from "./drafts";
import { inbox, inboxError, loadInbox } from "./inbox";
import { models } from "./models";
import { editing, held, onTheWay, queues } from "./queue";
import { findWho, followSession, hasEnded, signIn, signOut, startError, who } from "./session";
import { noteSteered, steered } from "./steered";
import { deleteSoon, listError, loadThreads, nextPage, searchTerm, showArchived, threads } from "./threads";
import { finishToasts, offerUndo, say, toasts } from "./toasts";

const HELD = { threads, listError, nextPage, searchTerm, showArchived, inbox, inboxError, models, queues, held, onTheWay, editing, steered, toasts };
const state = () => Object.fromEntries(Object.entries(HELD).map(([name, { value }]) => [name, value]));
const atFirst = state();
const as = (id: string) => ({ user: { id, name: id, role: "member" }, mode: "session", git: false }) as const;
const settled = async () => {
  for (let step = 0; step < 5; step++) await new Promise((done) => setTimeout(done, 0));
};

let user: string | null; // whom the server knows
let late: ((response: Response) => void)[]; // answers that have not come

async function serve(path: string, { method, body }: { method?: string; body?: string }): Promise<Response> {
  if (path !== "/console/session") return user === null ? Response.json({ detail: "Who?" }, { status: 401 }) : new Promise((answer) => late.push(answer));
  if (method === "DELETE") user = null;
  if (method === "POST") user = JSON.parse(body!).credential;
  return Response.json(user === null ? { user: null, detail: null } : as(user));
}

/** What the page may hold of a user. */
function use(): void {
  threads.value = [{ id: "t" } as Thread];
  listError.value = inboxError.value = "Of ann.";
  nextPage.value = searchTerm.value = "ann";
  showArchived.value = true;
  inbox.value = [{ id: 1 } as WaitingRequest];
  models.value = [{ model: "m" } as never];
  queues.value = new Map([["t", []]]);
  held.value = new Map([["t", "why"]]);
  onTheWay.value = new Set(["key"]);
  editing.value = { threadId: "t" } as never;
  noteSteered({ threadId: "t", turnId: "u", clientId: "c", text: "x", images: 0 });
  say("Of ann.");
}

beforeEach(async () => {
  vi.stubGlobal("fetch", serve);
  vi.stubGlobal("window", globalThis);
  vi.stubGlobal("sessionStorage", stored());
  user = "ann";
  late = [];
  await findWho();
  use();
  expect(Object.entries(state()).filter(([name, value]) => value === atFirst[name])).toEqual([]);
});

/** The browser's storage: its keys are members, as Object.keys() sees them. */
function stored(): object {
  const methods = {
    getItem: (key: string) => kept[key] ?? null,
    setItem: (key: string, value: string) => void (kept[key] = value),
    removeItem: (key: string) => void delete kept[key],
  };
  const kept: Record<string, string> = Object.create(methods);
  return kept;
}

test.each([
  ["a sign-out", () => signOut()],
  ["a session that has ended", () => ((user = null), call("thread/list", {} as never).catch(() => {}), settled())],
  ["another user in the same browser", () => ((user = "bob"), findWho())],
])("nothing of a user is left after %s", async (_, leave) => {
  await leave();
  expect([state(), who.value?.user.id ?? null]).toEqual([atFirst, user]);
});

test("whoever has not signed out here is told that the session has ended, until they sign in again", async () => {
  await signOut();
  expect(hasEnded.value).toBe(false);
  await signIn("ann");
  user = null; // its key is revoked
  call("thread/list", {} as never).catch(() => {});
  await settled();
  expect([who.value, hasEnded.value]).toEqual([null, true]);
  await signIn("ann");
  expect(hasEnded.value).toBe(false);
});

test("a tab that becomes visible has who is signed in now; without an answer it stays as it is", async () => {
  let turn = async () => {};
  vi.stubGlobal("document", { hidden: false, addEventListener: (_: string, act: () => void) => (turn = async () => (act(), settled())), removeEventListener: () => {} });
  const stop = followSession();
  user = "bob"; // signed in by another tab
  await turn();
  expect(who.value?.user.id).toBe("bob");
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("offline")));
  await turn();
  expect([who.value?.user.id, startError.value]).toEqual(["bob", null]);
  vi.stubGlobal("fetch", serve);
  user = null;
  await turn();
  expect([who.value, hasEnded.value]).toEqual([null, true]);
  user = "ann";
  await turn();
  expect(who.value?.user.id).toBe("ann");
  stop();
  vi.stubGlobal("document", undefined);
});

test("answers and errors that come after a user has left are dropped", async () => {
  void loadThreads();
  void loadInbox();
  await settled();
  await signOut();
  await signIn("bob");
  for (const [index, answer] of late.entries()) answer(index ? Response.json({ data: [{ id: 1 }], nextCursor: null }) : Response.json({ detail: "Who?" }, { status: 401 }));
  await settled();
  expect([late.length, state(), who.value?.user.id]).toEqual([2, atFirst, "bob"]);
});

test("what is put off does not happen for the next user", async () => {
  vi.useFakeTimers();
  const done = vi.fn();
  offerUndo("Deleted.", () => {}, done);
  await signOut();
  vi.runAllTimers();
  vi.useRealTimers();
  expect(done).not.toHaveBeenCalled();
});

test("what is put off is finished before a sign-out goes on, and says when it cannot be", async () => {
  for (const [status, isDone] of [[200, true], [500, false]] as const) {
    deleteSoon({ id: "t", name: "Mine" } as Thread);
    const finished = finishToasts();
    late.pop()!(Response.json(status === 200 ? {} : { detail: "Broken." }, { status }));
    expect(await finished).toBe(isDone);
  }
  expect(toasts.value.map(({ text }) => text)).toEqual(["Not deleted: Broken."]);
});

test("a draft is there when its user is back after a session that has ended, and for nobody else", async () => {
  draftOf("t", "").value = "typed by ann";
  user = "bob";
  await findWho();
  expect(draftOf("t", "").value).toBe("");
  user = "ann";
  await findWho();
  expect(draftOf("t", "").value).toBe("typed by ann");
  forgetDrafts("ann");
  expect(Object.keys(sessionStorage)).toEqual([]);
});
