/** Deliveries to webhooks: what was sent, what was given up, and sending it again. */
import { useSignal } from "@preact/signals";
import { call } from "../../protocol/http";
import type { Methods } from "../../protocol/types";
import { pathOf } from "../../state/route";
import { plural } from "../format";
import { Answer, At, Choice, Id, More, Table, useOnce, usePages, When } from "./parts";

type Delivery = Methods["admin/webhook/list"]["result"]["data"][number];
type State = "any" | "dead" | "pending" | "delivered";
const STATES: Record<State, string> = { any: "all", dead: "dead: given up", pending: "pending", delivered: "delivered" };
const BADGES: Record<string, string> = { delivered: "completed", dead: "failed", pending: "inProgress" };

export function Webhooks() {
  const state = useSignal<State>("any");
  const urls = useSignal<readonly string[] | null>(null);
  const pages = usePages(async (cursor) => {
    const page = await call("admin/webhook/list", { cursor, ...(state.value === "any" ? {} : { state: state.value }) });
    urls.value = page.webhooks;
    return page;
  }, [state.value]);
  const { busy, act } = useOnce(pages);
  const replay = (one: Delivery) => void act("It is sent again within seconds.", () => call("admin/webhook/replay", { deliveryId: one.deliveryId }));
  return (
    <>
      <h1>Webhooks</h1>
      {urls.value && <Configured urls={urls.value} />}
      <div class="row wrap">
        <Choice label="State" value={state} choices={STATES} />
        <button onClick={pages.again}>Look again</button>
      </div>
      <Answer asked={pages}>
        {(deliveries) =>
          deliveries.length === 0 ? (
            <p class="quiet">
              {state.value === "any"
                ? "Nothing was sent in the last days. Delivered messages are kept for 7 days, dead ones for 30."
                : "No delivery is in this state. Choose all states to see the others."}
            </p>
          ) : (
            <Table head={["When", "Event", "State", "To", "About", ""]} label="Deliveries">
              {deliveries.map((one) => (
                <tr key={one.deliveryId}>
                  <td>
                    <When ms={one.createdAtMs} />
                  </td>
                  <td>{one.event}</td>
                  <td>
                    <span class={`badge ${BADGES[one.state] ?? ""}`}>{one.state}</span>
                    <div class="small">
                      {plural(one.attempts, "attempt")}
                      {one.error && `: ${one.error}`}
                    </div>
                    {one.dueAtMs !== null && one.attempts > 0 && (
                      <div class="small">
                        next: <At ms={one.dueAtMs} />
                      </div>
                    )}
                  </td>
                  <td class="path small wide">{one.url}</td>
                  <td class="small">{one.turnId ? <a href={pathOf({ page: "admin", tab: "turns", id: one.turnId })}>Turn</a> : <Id id={one.threadId} />}</td>
                  <td>
                    {urls.value?.includes(one.url) ? (
                      one.state !== "pending" && (
                        <button disabled={busy} aria-label={`Send again: ${one.event}`} onClick={() => replay(one)}>
                          Send again
                        </button>
                      )
                    ) : (
                      <span class="small quiet">not configured any more</span>
                    )}
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Answer>
      <More more={pages.more} />
    </>
  );
}

function Configured({ urls }: { urls: readonly string[] }) {
  if (urls.length === 0) {
    return (
      <p class="quiet">
        No webhook is configured. A table <code>[[webhooks]]</code> in config.toml with a URL and a secret sends what happens to a server of yours, such as{" "}
        <code>turn.failed</code> and <code>approval.requested</code>.
      </p>
    );
  }
  return (
    <p class="small">
      Sent to:{" "}
      {urls.map((url) => (
        <code key={url} class="path">
          {url}{" "}
        </code>
      ))}
    </p>
  );
}
