/** Whether the deployment does its work now, and what was wrong in the last 24 hours. */
import { serverNowMs } from "../../protocol/clock";
import { call } from "../../protocol/http";
import type { Methods } from "../../protocol/types";
import { pathOf } from "../../state/route";
import { duration, moment, since } from "../format";
import { type Check, type Health as State, healthOf } from "./health";
import { Answer, type Asked, At, Table, usePolled } from "./parts";

type Alert = Methods["admin/alerts/list"]["result"]["data"][number];
const SILENT_MS = 60_000; // after which a watch that looks every 15 s has ended
const BADGES: Record<Alert["severity"], string> = { critical: "failed", warning: "inProgress", info: "" };

const NOW = { true: ["completed", "well"], false: ["failed", "wrong"], null: ["", "unknown"] } as const;

/** Read /statusz, which answers 503 with the same body when something is wrong. before: what the last answer said */
async function findHealth(before: readonly Check[], options: RequestInit): Promise<State> {
  const response = await fetch("/statusz", { credentials: "same-origin", cache: "no-store", ...options }).catch(() => {
    throw new Error("The server does not answer. Check that it runs and that you are online.");
  });
  return healthOf(response.status, await response.json().catch(() => ({})), before);
}

export function Health() {
  const asked: Asked<State> = usePolled((options) => findHealth(asked.data.peek()?.checks ?? [], options));
  return (
    <>
      <h1>Health</h1>
      <Answer asked={asked}>
        {({ ok, checks }) => (
          <>
            <p class={ok ? "quiet" : "error"} role="status">
              {ok ? "The deployment does its work." : "Something is wrong: see below what, and what to do."}
            </p>
            <Table head={["Part", "State", "Details"]} label="Checks">
              {checks.map((check) => (
                <tr key={check.name + check.message}>
                  <td>{check.name}</td>
                  <td>
                    <span class={`badge ${NOW[`${check.ok}`][0]}`}>{NOW[`${check.ok}`][1]}</span>
                  </td>
                  <td class="wide">
                    {check.ok === null && <span class="quiet">Before: </span>}
                    {check.message}
                  </td>
                </tr>
              ))}
            </Table>
          </>
        )}
      </Answer>
      <Alerts />
    </>
  );
}

function Alerts() {
  const asked = usePolled((options) => call("admin/alerts/list", {}, options));
  return (
    <section class="stack" aria-labelledby="alerts">
      <h2 id="alerts">Alerts of the last 24 hours</h2>
      <Answer asked={asked}>
        {({ data, watchedAtMs }) => (
          <>
            {(watchedAtMs === null || serverNowMs() - watchedAtMs > SILENT_MS) && (
              <p class="error" role="alert">
                {watchedAtMs === null ? "Nobody has looked for problems yet." : `Nobody has looked for problems since ${moment(watchedAtMs)}.`} Start a worker or the
                scheduler, which do it.
              </p>
            )}
            {data.length === 0 ? (
              <p class="quiet">None. What is wrong for some minutes is here, also when it is over; a worker or the scheduler looks every 15 s.</p>
            ) : (
              <Table head={["Alert", "Since", "Until", "What", "Do next"]} label="Alerts">
                {data.map((alert) => (
                  <AlertRow key={alert.name + alert.sinceMs} alert={alert} />
                ))}
              </Table>
            )}
          </>
        )}
      </Answer>
    </section>
  );
}

function AlertRow({ alert }: { alert: Alert }) {
  const { name, severity, sinceMs, untilMs } = alert;
  return (
    <tr>
      <td>
        {name.replace("Threadhouse", "")} <span class={`badge ${untilMs === null ? BADGES[severity] : ""}`}>{severity}</span>
      </td>
      <td>
        <At ms={sinceMs} />
      </td>
      <td>
        {untilMs === null ? (
          <strong>now</strong>
        ) : (
          <>
            <At ms={untilMs} /> <span class="quiet small nowrap">({duration(untilMs - sinceMs)})</span>
          </>
        )}
      </td>
      <td class="wide">{alert.message}</td>
      <td class="wide">
        {alert.next} <code class="path small">{alert.doc}</code>
      </td>
    </tr>
  );
}

/** What is wrong now, in a line that leads to the page of health. */
export function AlertsNow() {
  const asked = usePolled((options) => call("admin/alerts/list", {}, options));
  const now = asked.data.value?.data.filter((one) => one.untilMs === null && one.severity !== "info") ?? [];
  if (now.length === 0) return null;
  return (
    <div class="card" role="status">
      <ul class="plain-list">
        {now.map((one) => (
          <li key={one.name}>
            <span class={`badge ${BADGES[one.severity]}`}>{one.severity}</span> {one.name.replace("Threadhouse", "")}, {since(one.sinceMs)}: {one.message}
          </li>
        ))}
      </ul>
      <a href={pathOf({ page: "admin", tab: "health", id: null })}>Alerts and what to do</a>
    </div>
  );
}
