/** The page of health says what to do, also when the server cannot make its checks. */
import { expect, test } from "vitest";
import { healthOf } from "./health";

const workers = { name: "workers", ok: true, message: "2 ready" };

test("checks are shown as they are", () => {
  expect(healthOf(200, { ok: true, checks: [workers] }, [])).toEqual({ ok: true, checks: [workers] });
  expect(healthOf(503, { ok: false, checks: [workers] }, [])).toEqual({ ok: false, checks: [workers] });
});

test.each([
  ["not ready: Redis does not answer: ConnectionError", "redis", "Start Redis"],
  ["not ready: Redis does not answer in time", "redis", "Start Redis"],
  ["not ready: the database does not answer as expected: OperationalError", "database", "Start the database"],
  ["not ready: the database or Redis does not answer in time", "database, redis", "Start them"],
  ["not ready: the schema of the database is out of date: run `threadhouse migrate`", "database", "threadhouse migrate"],
])("%j is a row that says what to do, and leaves the others", (detail, name, next) => {
  const { ok, checks } = healthOf(503, { detail }, [workers]);

  expect([ok, checks[0]!.name, checks[0]!.ok]).toEqual([false, name, false]);
  expect(checks[0]!.message).toContain(next);
  expect(checks[0]!.message).toContain("go on by themselves");
  expect(checks.slice(1)).toEqual([{ ...workers, ok: null }]);
});

test("a part that could not be looked at twice stands there once", () => {
  const once = healthOf(503, { detail: "not ready: Redis does not answer in time" }, [workers]).checks;

  expect(healthOf(503, { detail: "not ready: Redis does not answer: ConnectionError" }, once).checks).toHaveLength(2);
});

test("a refusal is no state of health", () => {
  expect(() => healthOf(403, { detail: "only admins may read the status" }, [])).toThrow("only admins");
});
