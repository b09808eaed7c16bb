/** What the user of this page has spent, in tokens, and what is left of their budgets. */
import { useSignal } from "@preact/signals";
import { call } from "../protocol/http";
import type { Methods } from "../protocol/types";
import { count, moment } from "./format";
import { Answer, Choice, More, Table, useAsked, useFirst } from "./operate/parts";
import { daysOf, weekOf, within } from "./operate/periods";

type By = "day" | "week" | "month";
const BY: Record<By, string> = { day: "day", week: "week", month: "month" };
type Day = Methods["account/usage/read"]["result"]["dailyUsageBuckets"][number];
type BudgetWindow = NonNullable<Methods["account/rateLimits/read"]["result"]["rateLimits"]["primary"]>;

export function OwnUsage() {
  const asked = useAsked(() => Promise.all([call("account/usage/read", {}), call("account/rateLimits/read", {})]));
  return (
    <section class="admin stack">
      <h1>Your usage</h1>
      <Answer asked={asked}>
        {([usage, { rateLimits }]) => (
          <>
            <Totals days={usage.dailyUsageBuckets} lifetime={usage.summary.lifetimeTokens} />
            {[rateLimits.primary, rateLimits.secondary].map((one) => one && <Budget key={one.windowDurationMins} budget={one} />)}
            <Spent days={usage.dailyUsageBuckets} />
          </>
        )}
      </Answer>
    </section>
  );
}

function Totals({ days, lifetime }: { days: readonly Day[]; lifetime: number }) {
  const of = (period: "today" | "week" | "month") => {
    const span = daysOf(period);
    return days.filter((one) => within(span, one.startDate)).reduce((tokens, one) => tokens + one.tokens, 0);
  };
  const facts: [string, number][] = [
    ["Today", of("today")],
    ["This week", of("week")],
    ["This month", of("month")],
    ["In all", lifetime],
  ];
  return (
    <dl class="facts">
      {facts.map(([name, tokens]) => (
        <div key={name}>
          <dt class="quiet small">{name}</dt>
          <dd>
            <strong>{count(tokens)}</strong> <span class="quiet small">tokens</span>
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Budget({ budget }: { budget: BudgetWindow }) {
  const name = budget.windowDurationMins === 24 * 60 ? "today" : "this month";
  return (
    <p class="row wrap">
      <meter min={0} max={100} value={budget.usedPercent} aria-label={`Used of the budget of ${name}`} />
      {budget.usedPercent} % of your budget of {name} is used{budget.resetsAt !== null && `; it begins anew on ${moment(budget.resetsAt * 1000)}`}.
      {budget.usedPercent >= 100 && " Turns end until then; ask your operator for more."}
    </p>
  );
}

function Spent({ days }: { days: readonly Day[] }) {
  const by = useSignal<By>("week");
  const groups = new Map<string, number>();
  for (const { startDate, tokens } of days.toReversed()) {
    const key = by.value === "day" ? startDate : by.value === "week" ? `from ${weekOf(startDate)}` : startDate.slice(0, 7);
    groups.set(key, (groups.get(key) ?? 0) + tokens);
  }
  const { shown, more } = useFirst([...groups]);
  if (days.length === 0) return <p class="quiet">You have spent nothing yet. The tokens of each answer of a model are counted here, also when you delete its thread.</p>;
  return (
    <>
      <Choice label="By" value={by} choices={BY} />
      <Table head={[BY[by.value][0]!.toUpperCase() + BY[by.value].slice(1), ["Tokens"]]} label="Tokens">
        {shown.map(([key, tokens]) => (
          <tr key={key}>
            <td>{key}</td>
            <td class="number">{count(tokens)}</td>
          </tr>
        ))}
      </Table>
      <More more={more} />
      <p class="small quiet">Days are in UTC; a week begins on Monday. Tokens are input and output, without money: your operator sees what they cost.</p>
    </>
  );
}
