/** The turns of the last days that have ended: whose they were, how they ended, and where their timelines are. */
import { call } from "../../protocol/http";
import { pathOf } from "../../state/route";
import { duration } from "../format";
import { Answer, At, More, Table, usePages, UserLink, useUsers } from "./parts";

export type Ending = "ended" | "completed" | "interrupted" | "failed";

const BADGES: Record<string, string> = { completed: "completed", failed: "failed" };

export function EndedTurns({ ending }: { ending: Ending }) {
  useUsers();
  const pages = usePages((cursor) => call("admin/endedTurn/list", { cursor, ...(ending === "ended" ? {} : { status: ending }) }), [ending]);
  return (
    <>
      <p>
        <button onClick={pages.again}>Look again</button>
      </p>
      <Answer asked={pages}>
        {(turns) =>
          turns.length === 0 ? (
            <p class="quiet">No turn of the last 7 days has ended so.</p>
          ) : (
            <Table head={["Made", "User", "State", ["Took"], ""]} label="Ended turns">
              {turns.map((turn) => (
                <tr key={turn.turnId}>
                  <td>
                    <At ms={turn.createdAtMs} />
                  </td>
                  <td>
                    <UserLink userId={turn.userId} />
                  </td>
                  <td>
                    <span class={`badge ${BADGES[turn.status] ?? ""}`}>{turn.status}</span> {turn.error}
                  </td>
                  <td class="number">{turn.startedAtMs !== null && turn.endedAtMs !== null ? duration(turn.endedAtMs - turn.startedAtMs) : "did not run"}</td>
                  <td>
                    <a href={pathOf({ page: "admin", tab: "turns", id: turn.turnId })}>Timeline</a>
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
