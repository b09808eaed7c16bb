import { expect, test } from "vitest";
import { daysOf, daysOfAllPeriods, daysOfYear, money, moneys, sum, sumBy, weekOf } from "./periods";

const SUNDAY = Date.parse("2026-03-01T23:30:00Z");
const spent = (tokens: number, cost: number | null) => ({
  tokens,
  inputTokens: tokens,
  cachedInputTokens: 0,
  outputTokens: 0,
  cost,
  unpricedTokens: cost === null ? tokens : 0,
});

test("a week begins on Monday, in UTC, also across a month and a year", () => {
  expect(daysOf("week", SUNDAY)).toEqual({ fromDay: "2026-02-23", toDay: "2026-03-01" });
  expect(daysOf("lastWeek", SUNDAY)).toEqual({ fromDay: "2026-02-16", toDay: "2026-02-22" });
  expect(weekOf("2027-01-01")).toBe("2026-12-28");
  expect(weekOf("2026-02-23")).toBe("2026-02-23");
});

test("months, today and 30 days", () => {
  expect(daysOf("month", SUNDAY)).toEqual({ fromDay: "2026-03-01", toDay: "2026-03-01" });
  expect(daysOf("lastMonth", SUNDAY)).toEqual({ fromDay: "2026-02-01", toDay: "2026-02-28" });
  expect(daysOf("today", SUNDAY)).toEqual({ fromDay: "2026-03-01", toDay: "2026-03-01" });
  expect(daysOf("days30", SUNDAY)).toEqual({ fromDay: "2026-01-31", toDay: "2026-03-01" });
});

test("all periods and a year end today, and a year is no longer than the server answers", () => {
  expect(daysOfAllPeriods(SUNDAY)).toEqual({ fromDay: "2026-01-31", toDay: "2026-03-01" });
  expect(daysOfAllPeriods(Date.parse("2026-03-31T00:00:00Z"))).toEqual({ fromDay: "2026-02-01", toDay: "2026-03-31" });
  const { fromDay, toDay } = daysOfYear(SUNDAY);
  expect((Date.parse(toDay) - Date.parse(fromDay)) / 86_400_000 + 1).toBe(366);
});

test("money has the currency of the configuration, which may be any word", () => {
  expect(money(12.345, "USD")).toBe("$12.35");
  expect(money(0.000123, "EUR")).toBe("€0.000123");
  expect(money(1234.5, "credits")).toBe("1,234.50 credits");
});

test("the costs of a table add up to their sum, and none looks like nothing", () => {
  expect(moneys([1.004, 1.004, 1.004], "EUR")).toEqual({ parts: ["€1.01", "€1.00", "€1.00"], total: "€3.01" });
  expect(moneys([0.3333, null, 0.3333, 0.3334], "EUR")).toEqual({ parts: ["€0.33", null, "€0.33", "€0.34"], total: "€1.00" });
  expect(moneys([12, 0.004, 0], "EUR")).toEqual({ parts: ["€12.0000", "€0.0040", "€0.0000"], total: "€12.0040" });
  expect(moneys([null], "EUR")).toEqual({ parts: [null], total: null });
  expect(moneys([0.1, 0.2], "credits")).toEqual({ parts: ["0.10 credits", "0.20 credits"], total: "0.30 credits" });
});

test("what has no price is counted and costs nothing; nothing with a price costs null", () => {
  expect(sum([spent(10, 1.5), spent(5, null)])).toMatchObject({ tokens: 15, cost: 1.5, unpricedTokens: 5 });
  expect(sum([spent(5, null)]).cost).toBeNull();
  expect(sum([])).toMatchObject({ tokens: 0, cost: null });
});

test("groups come in order of what they cost, then of their tokens", () => {
  const rows = [
    { user: "ann", ...spent(10, 1) },
    { user: "bob", ...spent(90, null) },
    { user: "cid", ...spent(99, null) },
    { user: "ann", ...spent(10, 2) },
  ];
  expect(sumBy(rows, (row) => row.user).map(({ key, total }) => [key, total.tokens, total.cost])).toEqual([
    ["ann", 20, 3],
    ["cid", 99, null],
    ["bob", 90, null],
  ]);
});
