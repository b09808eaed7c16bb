/** The audit log: who did what, when and from where. */
import { useSignal } from "@preact/signals";
import { call } from "../../protocol/http";
import { Answer, At, Id, More, Table, usePages, UserLink, users, useUsers } from "./parts";

interface Filter {
  userId: string;
  action: string;
  threadId: string;
}

const NOTHING: Filter = { userId: "", action: "", threadId: "" };

export function Audit() {
  useUsers();
  const typed = useSignal<Filter>(NOTHING);
  const filter = useSignal<Filter>(NOTHING);
  const pages = usePages(
    (cursor) => call("admin/audit/list", { cursor, ...Object.fromEntries(Object.entries(filter.value).filter(([, text]) => text)) }),
    [filter.value],
  );
  const field = (name: "action" | "threadId", label: string, placeholder: string) => (
    <label class="row">
      <span class="quiet">{label}</span>
      <input placeholder={placeholder} value={typed.value[name]} onInput={(event) => (typed.value = { ...typed.value, [name]: event.currentTarget.value.trim() })} />
    </label>
  );
  return (
    <>
      <h1>Audit log</h1>
      <form class="row wrap" onSubmit={(event) => (event.preventDefault(), (filter.value = { ...typed.value }))}>
        <label class="row">
          <span class="quiet">Who</span>
          <select value={typed.value.userId} onChange={(event) => (typed.value = { ...typed.value, userId: event.currentTarget.value })}>
            <option value="">anyone</option>
            <option value="operator">operator: commands on the host, and the server</option>
            {(users.value ?? []).map((user) => (
              <option key={user.userId} value={user.userId}>
                {user.name}
              </option>
            ))}
          </select>
        </label>
        {field("action", "Action", "turn/start")}
        {field("threadId", "Thread", "id")}
        <button type="submit">Look</button>
      </form>
      <Answer asked={pages}>
        {(rows) =>
          rows.length === 0 ? (
            <p class="quiet">
              No entry matches. An action is the whole name of a method, such as <code>serverRequest/respond</code>, or of a command, such as <code>keys revoke</code>.
            </p>
          ) : (
            <Table head={["When", "Who", "Action", "About", "From"]} label="Audit log">
              {rows.map((row, index) => (
                <tr key={index}>
                  <td>
                    <At ms={row.atMs} />
                  </td>
                  <td>
                    <UserLink userId={row.userId} />
                  </td>
                  <td>
                    {row.action}
                    {row.detail && <div class="small">{row.detail}</div>}
                  </td>
                  <td class="small">
                    {row.threadId && (
                      <div>
                        thread <Id id={row.threadId} />
                      </div>
                    )}
                    {row.subjectId && <About id={row.subjectId} />}
                  </td>
                  <td class="small">
                    {[row.transport, row.address].filter(Boolean).join(" ")}
                    {row.keyId && (
                      <div>
                        key <Id id={row.keyId} />
                      </div>
                    )}
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Answer>
      <More more={pages.more} />
      <p class="small quiet">It has ids and no content. Each look at it, and at what else admins list, is an entry too.</p>
    </>
  );
}

function About({ id }: { id: string }) {
  return users.value?.some((user) => user.userId === id) ? <UserLink userId={id} /> : <Id id={id} />;
}
