/** A message that was sent into a turn is kept until the model has read it or the turn has ended, and no longer. */
import { beforeEach, expect, test } from "vitest";
import type { Item, Notification } from "../protocol/types";
import { forgetRead, noteSteered, noticeSteeredEvent, steered } from "./steered";

const left = () => steered.value.map((one) => one.text);
const read = (clientId: string) => ({ type: "userMessage", clientId }) as unknown as Item;

beforeEach(() => {
  steered.value = [];
  for (const [threadId, text] of [["t", "one"], ["t", "two"], ["u", "three"]] as const) {
    noteSteered({ threadId, turnId: `of ${threadId}`, clientId: text, text, images: 0 });
  }
});

test("what the model has read is forgotten", () => {
  forgetRead("of t", [read("one"), read("three")]);
  expect(left()).toEqual(["two", "three"]);
});

test("what a turn has not read is forgotten when it ends, whatever page is open", () => {
  const status = (type: string) => ({ method: "thread/status/changed", params: { threadId: "t", status: { type } } }) as Notification;
  noticeSteeredEvent(status("active"));
  expect(left()).toEqual(["one", "two", "three"]);
  noticeSteeredEvent(status("idle"));
  expect(left()).toEqual(["three"]);
  noticeSteeredEvent({ method: "thread/deleted", params: { threadId: "u" } });
  expect(left()).toEqual([]);
});
