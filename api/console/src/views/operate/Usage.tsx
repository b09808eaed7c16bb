/** What users spent, in tokens and money. */
import { useSignal } from "@preact/signals";
import { call } from "../../protocol/http";
import type { Methods } from "../../protocol/types";
import { count } from "../format";
import { Answer, Choice, More, Table, useAsked, useFirst, UserLink, useUsers } from "./parts";
import { bySize, type Counted, daysOf, money, type Period, PERIODS, sum, sumBy, within } from "./periods";

type Spending = Methods["admin/usage/read"]["result"]["data"][number];
type By = "user" | "model" | "userAndModel" | "day";
const BY: Record<By, string> = { user: "user", model: "model", userAndModel: "user and model", day: "day" };
const GROUPS: Record<By, ("day" | "user" | "model")[]> = { user: ["user"], model: ["model"], userAndModel: ["user", "model"], day: ["day"] };
const COUNTS: [string][] = [["Tokens"], ["Cost"], ["Input"], ["Cached"], ["Output"]];

export function Usage() {
  useUsers();
  const period = useSignal<Period>("week");
  const by = useSignal<By>("user");
  const asked = useAsked(
    async () => ({ by: by.value, ...(await call("admin/usage/read", { ...daysOf(period.value), groupBy: GROUPS[by.value] })) }),
    [period.value, by.value],
  );
  return (
    <>
      <h1>Usage</h1>
      <div class="row wrap">
        <Choice label="When" value={period} choices={PERIODS} />
        <Choice label="By" value={by} choices={BY} />
        <button onClick={asked.again}>Look again</button>
      </div>
      <Answer asked={asked}>
        {(found) => (
          <>
            <p class="quiet small">
              {found.fromDay} to {found.toDay}. Days are in UTC; a week begins on Monday.
            </p>
            <Spent key={`${found.by} ${found.fromDay}`} by={found.by} data={found.data} currency={found.currency} />
          </>
        )}
      </Answer>
    </>
  );
}

function Spent({ by, data, currency }: { by: By; data: readonly Spending[]; currency: string }) {
  const rows = by === "day" ? data : [...data].sort(bySize);
  const { shown, more } = useFirst(rows);
  const total = sum(data);
  if (data.length === 0) return <p class="quiet">Nothing was spent in this time. Tokens count on the day of the model’s answer; the built-in script costs none.</p>;
  const groups = GROUPS[by];
  return (
    <>
      <Table
        head={[...groups.map((name) => name[0]!.toUpperCase() + name.slice(1)), ...COUNTS]}
        label="Usage"
        foot={
          <tr>
            <th scope="row" colSpan={groups.length}>
              Total
            </th>
            <Numbers of={total} currency={currency} />
          </tr>
        }
      >
        {shown.map((one) => (
          <tr key={`${one.day} ${one.userId} ${one.model}`}>
            {groups.includes("day") && <td class="nowrap">{one.day}</td>}
            {groups.includes("user") && (
              <td>
                <UserLink userId={one.userId ?? ""} />
              </td>
            )}
            {groups.includes("model") && <td class="path">{one.model}</td>}
            <Numbers of={one} currency={currency} />
          </tr>
        ))}
      </Table>
      <More more={more} />
      <Unpriced total={total} />
    </>
  );
}

function Numbers({ of, currency }: { of: Counted; currency: string }) {
  return (
    <>
      <td class="number">{count(of.tokens)}</td>
      <td class="number">{of.cost === null ? <span class="quiet">{of.tokens ? "no price" : "–"}</span> : money(of.cost, currency)}</td>
      <td class="number">{count(of.inputTokens)}</td>
      <td class="number">{count(of.cachedInputTokens)}</td>
      <td class="number">{count(of.outputTokens)}</td>
    </>
  );
}

function Unpriced({ total }: { total: Counted }) {
  if (total.unpricedTokens === 0) return null;
  return (
    <p class="small quiet">
      {count(total.unpricedTokens)} of these tokens have no price and are not in the cost: name their models in <code>[[prices.models]]</code> of config.toml.
    </p>
  );
}

/** What one user spent, by model, on the user's page. */
export function SpentBy({ userId }: { userId: string }) {
  const period = useSignal<Period>("week");
  const asked = useAsked(() => {
    const all = [daysOf("lastMonth"), daysOf("lastWeek"), daysOf("days30")].map((days) => days.fromDay).sort();
    return call("admin/usage/read", { userId, fromDay: all[0]!, toDay: daysOf("today").toDay, groupBy: ["day", "model"] });
  });
  return (
    <section class="stack" aria-labelledby="spent">
      <h2 id="spent">Spent</h2>
      <Choice label="When" value={period} choices={PERIODS} />
      <Answer asked={asked}>
        {({ data, currency }) => {
          const days = daysOf(period.value);
          const rows = data.filter((one) => within(days, one.day ?? ""));
          const total = sum(rows);
          if (rows.length === 0) return <p class="quiet">Nothing from {days.fromDay} to {days.toDay} (UTC).</p>;
          return (
            <>
              <Table
                head={["Model", ...COUNTS]}
                label="Spent by model"
                foot={
                  <tr>
                    <th scope="row">
                      {days.fromDay} to {days.toDay} (UTC)
                    </th>
                    <Numbers of={total} currency={currency} />
                  </tr>
                }
              >
                {sumBy(rows, (row) => row.model ?? "").map(({ key, total }) => (
                  <tr key={key}>
                    <td class="path">{key}</td>
                    <Numbers of={total} currency={currency} />
                  </tr>
                ))}
              </Table>
              <Unpriced total={total} />
            </>
          );
        }}
      </Answer>
    </section>
  );
}
