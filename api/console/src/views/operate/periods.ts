/** Spans of days in UTC, in which usage is counted, and sums of what was spent in them. */
import { serverNowMs } from "../../protocol/clock";

export type Period = "today" | "week" | "lastWeek" | "month" | "lastMonth" | "days30";
export const PERIODS: Record<Period, string> = {
  today: "Today",
  week: "This week",
  lastWeek: "Last week",
  month: "This month",
  lastMonth: "Last month",
  days30: "The last 30 days",
};

export interface Days {
  fromDay: string;
  toDay: string;
}

const DAY_MS = 86_400_000;

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** Return the Monday of a day's week. */
export function weekOf(day: string): string {
  const ms = Date.parse(day);
  return dayOf(ms - ((new Date(ms).getUTCDay() + 6) % 7) * DAY_MS);
}

/** Return the first and the last day of a period; weeks begin on Monday. */
export function daysOf(period: Period, nowMs = serverNowMs()): Days {
  const today = dayOf(nowMs);
  const monday = Date.parse(weekOf(today));
  const first = `${today.slice(0, 8)}01`;
  const beforeFirst = dayOf(Date.parse(first) - DAY_MS);
  switch (period) {
    case "today":
      return { fromDay: today, toDay: today };
    case "week":
      return { fromDay: dayOf(monday), toDay: today };
    case "lastWeek":
      return { fromDay: dayOf(monday - 7 * DAY_MS), toDay: dayOf(monday - DAY_MS) };
    case "month":
      return { fromDay: first, toDay: today };
    case "lastMonth":
      return { fromDay: `${beforeFirst.slice(0, 8)}01`, toDay: beforeFirst };
    case "days30":
      return { fromDay: dayOf(Date.parse(today) - 29 * DAY_MS), toDay: today };
  }
}

/** Return the days of all periods, from the first of any to today. */
export function daysOfAllPeriods(nowMs = serverNowMs()): Days {
  const first = (Object.keys(PERIODS) as Period[]).map((period) => daysOf(period, nowMs).fromDay).sort()[0]!;
  return { fromDay: first, toDay: dayOf(nowMs) };
}

/** Return the last 366 days. */
export function daysOfYear(nowMs = serverNowMs()): Days {
  return { fromDay: dayOf(nowMs - 365 * DAY_MS), toDay: dayOf(nowMs) };
}

export function within({ fromDay, toDay }: Days, day: string): boolean {
  return fromDay <= day && day <= toDay;
}

/** Return a cost with its currency, which may be any word of the operator's. */
export function money(cost: number, currency: string, digits = digitsFor([cost])): string {
  const shown = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  try {
    return cost.toLocaleString("en", { style: "currency", currency, ...shown });
  } catch {
    return `${cost.toLocaleString("en", shown)} ${currency}`;
  }
}

/** Return how many digits show that each cost is more than nothing. */
function digitsFor(costs: readonly number[]): number {
  const least = Math.min(...costs.map(Math.abs).filter((cost) => cost > 0));
  return least < 0.001 ? 6 : least < 0.01 ? 4 : 2;
}

/** Return costs as texts that add up to the text of their sum. null: it has no price, and the sum has none if nothing has one */
export function moneys(costs: readonly (number | null)[], currency: string): { parts: (string | null)[]; total: string | null } {
  const known = costs.filter((cost) => cost !== null);
  const digits = digitsFor(known);
  const unit = 10 ** digits;
  const exact = costs.map((cost) => (cost ?? 0) * unit);
  const whole = exact.map((amount) => Math.floor(amount + 1e-6));
  const add = (amounts: readonly number[]) => amounts.reduce((total, one) => total + one, 0);
  const total = Math.round(add(exact));
  // What rounding down has lost goes to those that have lost most.
  const byLoss = [...exact.keys()].sort((one, other) => exact[other]! - whole[other]! - (exact[one]! - whole[one]!));
  for (const index of byLoss.slice(0, total - add(whole))) whole[index]! += 1;
  const text = (amount: number) => money(amount / unit, currency, digits);
  return { parts: costs.map((cost, index) => (cost === null ? null : text(whole[index]!))), total: known.length ? text(total) : null };
}

export interface Counted {
  tokens: number;
  inputTokens: number;
  cachedInputTokens: number;
  outputTokens: number;
  cost: number | null;
  unpricedTokens: number;
}

/** Return the sum; its cost is null when nothing of it has a price. */
export function sum(all: readonly Counted[]): Counted {
  const total: Counted = { tokens: 0, inputTokens: 0, cachedInputTokens: 0, outputTokens: 0, cost: null, unpricedTokens: 0 };
  for (const one of all) {
    for (const name of ["tokens", "inputTokens", "cachedInputTokens", "outputTokens", "unpricedTokens"] as const) total[name] += one[name];
    if (one.cost !== null) total.cost = (total.cost ?? 0) + one.cost;
  }
  return total;
}

/** Group rows and sum each group, those with the most money and tokens first. */
export function sumBy<Row extends Counted>(rows: readonly Row[], key: (row: Row) => string): { key: string; total: Counted }[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) groups.set(key(row), [...(groups.get(key(row)) ?? []), row]);
  return [...groups].map(([name, of]) => ({ key: name, total: sum(of) })).sort((a, b) => bySize(a.total, b.total));
}

export function bySize(a: Counted, b: Counted): number {
  return (b.cost ?? -1) - (a.cost ?? -1) || b.tokens - a.tokens;
}
