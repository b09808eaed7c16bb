/** The message of a thread: what is sent leaves the box, and nothing that was typed is lost. */
import { beforeEach, expect, test, vi } from "vitest";
import { messageDraft, NO_MESSAGE, putBack, takeOut } from "./drafts";
import { forgetUser } from "./user";

let kept: Map<string, string>;
const ROOM = 1000;

beforeEach(() => {
  kept = new Map();
  vi.stubGlobal("sessionStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    removeItem: (key: string) => kept.delete(key),
    setItem: (key: string, value: string) => {
      if (value.length > ROOM) throw new DOMException("full", "QuotaExceededError");
      kept.set(key, value);
    },
  });
  forgetUser();
});

/** As after a reload. */
const again = () => (forgetUser(), messageDraft("t").value);
const FIRST = { text: "first", images: ["one"], choice: { model: "a", effort: "low" } } as const;
const NEXT = { text: "next", images: ["two"], choice: { model: "b" } } as const;

test("what is typed while a message is sent stays", () => {
  const sending = { ...takeOut({ ...NO_MESSAGE, ...FIRST }), ...NEXT };
  expect({ ...sending, sending: null, tried: null }).toEqual({ ...NO_MESSAGE, ...NEXT });
});

test("a message that was not sent is back before what was typed meanwhile", () => {
  const sending = { ...takeOut({ ...NO_MESSAGE, ...FIRST }), ...NEXT };
  const { tried } = sending;
  expect(putBack(sending)).toEqual({ ...NO_MESSAGE, text: "first\nnext", images: ["one", "two"], choice: { model: "b", effort: "low" }, tried });
  const first = takeOut({ ...NO_MESSAGE, ...FIRST });
  expect(putBack(first)).toEqual({ ...NO_MESSAGE, ...FIRST, tried: first.tried });
});

test("a message whose sending a reload has cut off is in the box again", () => {
  const taken = takeOut({ ...NO_MESSAGE, ...FIRST });
  messageDraft("t").value = taken;
  expect(again()).toEqual({ ...NO_MESSAGE, ...FIRST, tried: taken.tried });
});

test("what is sent again as it was has the same id, also after a reload; what was changed has another one", () => {
  const taken = takeOut({ ...NO_MESSAGE, ...FIRST });
  messageDraft("t").value = taken;
  const back = again();
  expect(takeOut(back).tried).toEqual(taken.tried);
  expect(takeOut({ ...back, text: "first!" }).tried.id).not.toBe(taken.tried.id);
  expect(takeOut({ ...back, images: [] }).tried.id).not.toBe(taken.tried.id);
});

test("a reload keeps a draft, without the images that are too large; one that was sent leaves nothing", () => {
  messageDraft("t").value = { ...NO_MESSAGE, ...FIRST };
  expect(again()).toEqual({ ...NO_MESSAGE, ...FIRST });
  messageDraft("t").value = { ...NO_MESSAGE, ...FIRST, images: ["x".repeat(ROOM)] };
  expect(again()).toEqual({ ...NO_MESSAGE, ...FIRST, images: [] });
  messageDraft("t").value = { ...NO_MESSAGE };
  expect(kept.size).toBe(0);
});
