/** Times for people: the same moment is written in one way on all pages. */
import { expect, test } from "vitest";
import { moment, plural, second, sentenceOf, since, sinceSecond } from "./format";

const NOW_MS = new Date(2026, 10, 30, 12, 0, 5).getTime();

test.each([
  [5, "just now"],
  [59.9, "just now"],
  [60, "1 min ago"],
  [7200, "2 h ago"],
  [86_400 * 3, "3 d ago"],
  [86_400 * 60, "2026-10-01"],
  [-30, "just now"], // of a clock that goes before ours
])("%d seconds ago is %j", (seconds, text) => {
  expect(since(NOW_MS - seconds * 1000, NOW_MS)).toBe(text);
});

test.each([
  [0.4, "0 s ago"],
  [59.9, "59 s ago"],
  [60, "1 min ago"],
  [-30, "0 s ago"],
])("where each second counts, %d seconds ago is %j", (seconds, text) => {
  expect(sinceSecond(NOW_MS - seconds * 1000, NOW_MS)).toBe(text);
});

test("one is no plural", () => {
  expect([0, 1, 2000].map((number) => plural(number, "turn"))).toEqual(["0 turns", "1 turn", "2,000 turns"]);
});

test("a moment is a day and a time, whatever the language of the browser is", () => {
  expect(moment(NOW_MS)).toBe("2026-11-30 12:00");
  expect(second(NOW_MS)).toBe("2026-11-30 12:00:05");
});

test("of a provider's answer in JSON, the message is shown", () => {
  const answer = { error: { message: "the model does not want to", type: "invalid_request_error", param: null, code: null } };

  expect(sentenceOf(JSON.stringify(answer))).toBe("The model's provider answered: the model does not want to");
});

test.each(["unexpected status 500", "", "{", "null", "[1]", '{"error":null}', '{"error":{"message":5}}'])("any other error is shown as it is: %s", (error) => {
  expect(sentenceOf(error)).toBe(error);
});
