/** What the user of this page has spent, in tokens and money, and what is left of their budgets. */
import { useSignal } from "@preact/signals";
import { call } from "../protocol/http";
import type { Methods } from "../protocol/types";
import { count, moment } from "./format";
import { Answer, Choice, More, Table, useAsked, useFirst } from "./operate/parts";
import { daysOf, daysOfAllPeriods, daysOfYear, money, moneys, sum, weekOf, within } from "./operate/periods";
import { Cost, SpentByModel } from "./operate/Usage";

type By = "day" | "week" | "month";
const BY: Record<By, string> = { day: "day", week: "week", month: "month" };
type Spending = Methods["usage/read"]["result"]["data"][number];
type BudgetWindow = NonNullable<Methods["account/rateLimits/read"]["result"]["rateLimits"]["primary"]>;

const ask = () =>
  Promise.all([
    call("account/usage/read", {}),
    call("usage/read", { ...daysOfYear(), groupBy: ["day"] }),
    call("usage/read", { ...daysOfAllPeriods(), groupBy: ["day", "model"] }),
    call("account/rateLimits/read", {}),
  ]);

export function OwnUsage() {
  const asked = useAsked(ask);
  return (
    <section class="admin stack">
      <h1>Your usage</h1>
      <Answer asked={asked}>
        {([{ summary }, { data: days, currency }, { data: models }, { rateLimits }]) => (
          <>
            <Totals days={days} currency={currency} lifetime={summary.lifetimeTokens} />
            {[rateLimits.primary, rateLimits.secondary].map((one) => one && <Budget key={one.windowDurationMins} budget={one} />)}
            <SpentByModel data={models} currency={currency} />
            <SpentByTime days={days} currency={currency} />
          </>
        )}
      </Answer>
    </section>
  );
}

function Totals({ days, currency, lifetime }: { days: readonly Spending[]; currency: string; lifetime: number }) {
  const of = (period: "today" | "week" | "month") => {
    const span = daysOf(period);
    return sum(days.filter((one) => within(span, one.day ?? "")));
  };
  const facts = [
    { name: "This week", spent: of("week") },
    { name: "Today", spent: of("today") },
    { name: "This month", spent: of("month") },
  ];
  return (
    <dl class="facts">
      {facts.map(({ name, spent }) => (
        <div key={name}>
          <dt class="quiet small">{name}</dt>
          <dd>
            <strong>{count(spent.tokens)}</strong> <span class="quiet small">tokens</span>
          </dd>
          <dd>
            <Cost of={spent} cost={spent.cost === null ? null : money(spent.cost, currency)} />
          </dd>
        </div>
      ))}
      <div>
        <dt class="quiet small">In all</dt>
        <dd>
          <strong>{count(lifetime)}</strong> <span class="quiet small">tokens</span>
        </dd>
      </div>
    </dl>
  );
}

function Budget({ budget }: { budget: BudgetWindow }) {
  const name = budget.windowDurationMins === 24 * 60 ? "today" : "this month";
  return (
    <p class="row wrap">
      <meter min={0} max={100} value={budget.usedPercent} aria-label={`Used of the budget of ${name}`} />
      {budget.usedPercent} % of your budget of {name} is used{budget.resetsAt !== null && `; it begins anew on ${moment(budget.resetsAt * 1000)}`}.
      {budget.usedPercent >= 100 && " Until then each turn fails, because no model is asked for it; your operator can raise the budget."}
    </p>
  );
}

function SpentByTime({ days, currency }: { days: readonly Spending[]; currency: string }) {
  const by = useSignal<By>("week");
  const groups = new Map<string, Spending[]>();
  for (const one of days.toReversed()) {
    const day = one.day ?? "";
    const key = by.value === "day" ? day : by.value === "week" ? `from ${weekOf(day)}` : day.slice(0, 7);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const rows = [...groups].map(([key, of]) => ({ key, spent: sum(of) }));
  const costs = moneys(rows.map(({ spent }) => spent.cost), currency);
  const { shown, more } = useFirst(rows);
  return (
    <section class="stack" aria-labelledby="times">
      <h2 id="times">{BY[by.value][0]!.toUpperCase() + BY[by.value].slice(1)}s</h2>
      {days.length === 0 ? (
        <p class="quiet">You have spent nothing in a year. The tokens of each answer of a model are counted here, also when you delete its thread.</p>
      ) : (
        <>
          <Choice label="By" value={by} choices={BY} />
          <Table head={[BY[by.value][0]!.toUpperCase() + BY[by.value].slice(1), ["Tokens"], ["Cost"]]} label="Spent by time">
            {shown.map(({ key, spent }, index) => (
              <tr key={key}>
                <td>{key}</td>
                <td class="number">{count(spent.tokens)}</td>
                <td class="number">
                  <Cost of={spent} cost={costs.parts[index]!} />
                </td>
              </tr>
            ))}
          </Table>
          <More more={more} />
        </>
      )}
      <p class="small quiet">Days are in UTC; a week begins on Monday. Tokens are input and output. Money is what they cost by the prices that your operator has set.</p>
    </section>
  );
}
