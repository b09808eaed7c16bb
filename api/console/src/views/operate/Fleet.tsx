/** What waits in each queue, and the worker processes. */
import { call } from "../../protocol/http";
import type { Worker } from "../../protocol/types";
import { count, sinceSecond } from "../format";
import { Answer, At, Table, usePolled, When } from "./parts";

export function Queue() {
  const asked = usePolled(async (options) => (await call("admin/queue/read", {}, options)).data);
  return (
    <>
      <h1>Queues</h1>
      <p class="quiet small">
        What waits stands in the database; a task in Redis only wakes a worker, and is sent again by itself. Turns that wait are under “Turns”, each with its reason.
      </p>
      <Answer asked={asked}>
        {(found) => (
          <Table head={["Queue", "What", ["Waiting"], "Oldest", ["Workers"], ["Tasks"], "Why"]} label="Queues">
            {found.map((one) => (
              <tr key={`${one.queue} ${one.kind} ${one.cause}`}>
                <td>{one.queue}</td>
                <td>{one.kind}</td>
                <td class="number">{one.count === null ? "unknown" : count(one.count)}</td>
                <td>{one.sinceMs === null ? "" : <When ms={one.sinceMs} />}</td>
                <td class="number">{count(one.workers)}</td>
                <td class="number">{one.tasks === null ? "unknown" : count(one.tasks)}</td>
                <td class="wide">{one.why ?? (one.count === null ? "unknown, because Redis does not answer" : one.count ? "it moves" : "nothing waits")}</td>
              </tr>
            ))}
          </Table>
        )}
      </Answer>
    </>
  );
}

export function Workers() {
  const asked = usePolled(async (options) => (await call("admin/worker/list", {}, options)).data);
  return (
    <>
      <h1>Workers</h1>
      <Answer asked={asked}>
        {(workers: Worker[]) =>
          workers.length === 0 ? (
            <p class="quiet">
              No worker has reported. Start one with <code>threadhouse worker</code>; turns wait until then.
            </p>
          ) : (
            <Table head={["Name", "State", "Turns", "Queues", "Version", "Started", "Seen"]} label="Workers">
              {workers.map((worker) => (
                <tr key={worker.name}>
                  <td class="path">{worker.name}</td>
                  <td>
                    <span class={`badge ${worker.state === "ready" ? "completed" : worker.state === "draining" ? "inProgress" : "failed"}`}>{worker.state}</span>
                    {worker.problem && <div class="small">{worker.problem}</div>}
                  </td>
                  <td class="nowrap">
                    {worker.turns} of {worker.slots}
                  </td>
                  <td>{worker.queues.join(", ")}</td>
                  <td>{worker.version}</td>
                  <td>
                    <At ms={worker.startedAtMs} />
                  </td>
                  <td>
                    <When ms={worker.seenAtMs} write={sinceSecond} />
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Answer>
    </>
  );
}
