/** What was erased: threads, users and expired data, with the receipts. */
import { call } from "../../protocol/http";
import { count } from "../format";
import { Answer, At, Id, More, Table, usePages, UserLink, useUsers } from "./parts";

const CAUSES: Record<string, string> = {
  "thread/delete": "its user deleted it",
  retention: "older than [retention] keeps",
  "users delete": "the user was deleted",
  unused: "it never had a message",
};

export function Erasures() {
  useUsers();
  const pages = usePages((cursor) => call("admin/erasure/list", { cursor }));
  return (
    <>
      <h1>Erasures</h1>
      <p>
        <button onClick={pages.again}>Look again</button>
      </p>
      <Answer asked={pages}>
        {(erasures) =>
          erasures.length === 0 ? (
            <p class="quiet">Nothing was erased. A thread or a user that is deleted leaves a receipt here: ids and counts, no content.</p>
          ) : (
            <Table head={["Asked for", "What", "Of", "Why", "Done", "Receipt"]} label="Erasures">
              {erasures.map((one) => (
                <tr key={one.id}>
                  <td>
                    <At ms={one.requestedAtMs} />
                  </td>
                  <td>
                    {one.kind} <Id id={one.subjectId} />
                  </td>
                  <td>
                    <UserLink userId={one.userId} />
                  </td>
                  <td>{CAUSES[one.cause] ?? one.cause}</td>
                  <td>{one.doneAtMs === null ? <span class="badge inProgress">not yet</span> : <At ms={one.doneAtMs} />}</td>
                  <td class="small">
                    {Object.entries(one.receipt)
                      .map(([name, number]) => `${count(number)} ${name}`)
                      .join(", ")}
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
