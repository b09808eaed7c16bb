/** What users spent, in tokens and money. */
import { useSignal } from "@preact/signals";
import { call } from "../../protocol/http";
import type { Methods } from "../../protocol/types";
import { who } from "../../state/session";
import { count } from "../format";
import { Answer, Choice, More, Table, useAsked, useFirst, UserLink, useUsers } from "./parts";
import { bySize, type Counted, daysOf, daysOfAllPeriods, moneys, type Period, PERIODS, sum, sumBy, within } from "./periods";

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
  const costs = moneys(rows.map((one) => one.cost), currency);
  if (data.length === 0) return <p class="quiet">Nothing was spent in this time. Tokens count on the day of the model’s answer; the built-in script costs none.</p>;
  const groups = GROUPS[by];
  return (
    <>
      <Table
        head={[...groups.map((name) => name[0]!.toUpperCase() + name.slice(1)), ...COUNTS]}
        label="Usage"
        foot={
          <tr>
            <th scope="row">Total</th>
            {groups.slice(1).map((name) => (
              <td key={name} />
            ))}
            <Numbers of={total} cost={costs.total} />
          </tr>
        }
      >
        {shown.map((one, index) => (
          <tr key={`${one.day} ${one.userId} ${one.model}`}>
            {groups.includes("day") && <td class="nowrap">{one.day}</td>}
            {groups.includes("user") && (
              <td>
                <UserLink userId={one.userId ?? ""} />
              </td>
            )}
            {groups.includes("model") && <td class="path">{one.model}</td>}
            <Numbers of={one} cost={costs.parts[index]!} />
          </tr>
        ))}
      </Table>
      <More more={more} />
      <Unpriced total={total} />
    </>
  );
}

/** cost: as it is written; null: it is not known */
export function Cost({ of, cost }: { of: Counted; cost: string | null }) {
  return cost === null ? <span class="quiet">{of.tokens ? "no price" : "–"}</span> : <>{cost}</>;
}

function Numbers({ of, cost }: { of: Counted; cost: string | null }) {
  return (
    <>
      <td class="number">{count(of.tokens)}</td>
      <td class="number">
        <Cost of={of} cost={cost} />
      </td>
      <td class="number">{count(of.inputTokens)}</td>
      <td class="number">{count(of.cachedInputTokens)}</td>
      <td class="number">{count(of.outputTokens)}</td>
    </>
  );
}

function Unpriced({ total }: { total: Counted }) {
  if (total.unpricedTokens === 0) return null;
  const which = total.cost === null ? "None of these tokens has a price, so what they cost is not known" : `${count(total.unpricedTokens)} of these tokens have no price and are not in the cost`;
  return (
    <p class="small quiet">
      {which}: {who.value?.user.role === "admin" ? "name" : "your operator can name"} their models in <code>[[prices.models]]</code> of config.toml.
    </p>
  );
}

/** What one user spent, by model, on the user's page. */
export function SpentBy({ userId }: { userId: string }) {
  const asked = useAsked(() => call("admin/usage/read", { userId, ...daysOfAllPeriods(), groupBy: ["day", "model"] }));
  return <Answer asked={asked}>{({ data, currency }) => <SpentByModel data={data} currency={currency} />}</Answer>;
}

/** What one user spent, by model, in a period of choice. data: of all periods, by day and model */
export function SpentByModel({ data, currency }: { data: readonly Spending[]; currency: string }) {
  const period = useSignal<Period>("week");
  const days = daysOf(period.value);
  const rows = data.filter((one) => within(days, one.day ?? ""));
  const models = sumBy(rows, (row) => row.model ?? "");
  const costs = moneys(models.map(({ total }) => total.cost), currency);
  return (
    <section class="stack" aria-labelledby="spent">
      <h2 id="spent">Models</h2>
      <div class="row wrap">
        <Choice label="When" value={period} choices={PERIODS} />
        <span class="quiet small">
          {days.fromDay} to {days.toDay} (UTC)
        </span>
      </div>
      {rows.length === 0 ? (
        <p class="quiet">Nothing was spent.</p>
      ) : (
        <>
          <Table
            head={["Model", ...COUNTS]}
            label="Spent by model"
            foot={
              <tr>
                <th scope="row">{PERIODS[period.value]}</th>
                <Numbers of={sum(rows)} cost={costs.total} />
              </tr>
            }
          >
            {models.map(({ key, total }, index) => (
              <tr key={key}>
                <td class="path">{key}</td>
                <Numbers of={total} cost={costs.parts[index]!} />
              </tr>
            ))}
          </Table>
          <Unpriced total={sum(rows)} />
        </>
      )}
    </section>
  );
}
