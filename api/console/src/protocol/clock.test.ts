/** The server's time. */
import { expect, test } from "vitest";
import { noteServerTime, serverNowMs } from "./clock";

const NOW_MS = Date.parse("2026-11-30T12:00:00Z");

test("a browser's clock that is wrong is corrected, and one that is right is left alone", () => {
  noteServerTime("Mon, 30 Nov 2026 12:02:00 GMT", NOW_MS);
  expect(serverNowMs(NOW_MS)).toBe(NOW_MS + 120_000);
  noteServerTime(null, NOW_MS);
  noteServerTime("nonsense", NOW_MS);
  expect(serverNowMs(NOW_MS)).toBe(NOW_MS + 120_000);
  noteServerTime("Mon, 30 Nov 2026 12:00:01 GMT", NOW_MS);
  expect(serverNowMs(NOW_MS)).toBe(NOW_MS);
});
