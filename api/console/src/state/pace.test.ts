import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { paceOf } from "./pace";

const FRAME_MS = 16;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("window", globalThis);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Hurry every 5 ms for a second, on a page that needs so long for a frame. Return how often it was drawn. */
function drawings(frameMs: number): number {
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => setTimeout(draw, frameMs));
  const apply = vi.fn();
  const pace = paceOf(apply);
  for (let passed = 0; passed < 1000; passed += 5) {
    pace.hurry();
    vi.advanceTimersByTime(5);
  }
  return apply.mock.calls.length;
}

test("what comes first is drawn at once", () => {
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => setTimeout(draw, FRAME_MS));
  const apply = vi.fn();
  const pace = paceOf(apply);

  pace.hurry();
  pace.hurry();
  vi.advanceTimersByTime(0);

  expect(apply).toHaveBeenCalledOnce();
});

test("a quick page is drawn often, and a slow one seldom", () => {
  expect(drawings(FRAME_MS)).toBeGreaterThanOrEqual(12);
  expect(drawings(100)).toBeLessThanOrEqual(4);
});

test("a page without frames is drawn once a second", () => {
  vi.stubGlobal("requestAnimationFrame", () => 0);
  const apply = vi.fn();
  const pace = paceOf(apply);

  for (let passed = 0; passed < 2900; passed += 100) {
    pace.hurry();
    vi.advanceTimersByTime(100);
  }

  expect(apply).toHaveBeenCalledTimes(3);
});

test("what is stopped draws no more", () => {
  const apply = vi.fn();
  const pace = paceOf(apply);

  pace.hurry();
  pace.stop();
  vi.runAllTimers();

  expect(apply).not.toHaveBeenCalled();
});
