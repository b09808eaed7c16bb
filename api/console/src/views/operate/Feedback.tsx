/** The feedback reports of all users. */
import { useSignal } from "@preact/signals";
import { call } from "../../protocol/http";
import type { Methods } from "../../protocol/types";
import { Answer, Choice, Id, More, Table, useOnce, usePages, UserLink, useUsers, When } from "./parts";

type Report = Methods["admin/feedback/list"]["result"]["data"][number];
type Status = "any" | "received" | "processing" | "delivered" | "failed";
const STATUSES: Record<Status, string> = { any: "all", received: "received", processing: "processing", delivered: "delivered", failed: "failed" };
const BADGES: Record<string, string> = { delivered: "completed", failed: "failed", processing: "inProgress" };
const SHORT = 160; // characters of a text that is not folded

export function Feedback() {
  useUsers();
  const status = useSignal<Status>("any");
  const pages = usePages(
    (cursor) => call("admin/feedback/list", { cursor, ...(status.value === "any" ? {} : { status: status.value }) }),
    [status.value],
  );
  const { busy, act } = useOnce(pages);
  const retry = (report: Report) => void act("The report is queued again.", () => call("admin/feedback/retry", { feedbackId: report.id }));
  return (
    <>
      <h1>Feedback</h1>
      <div class="row wrap">
        <Choice label="State" value={status} choices={STATUSES} />
        <button onClick={pages.again}>Look again</button>
      </div>
      <Answer asked={pages}>
        {(reports) =>
          reports.length === 0 ? (
            <p class="quiet">
              {status.value === "any"
                ? "No user has sent a report. They do with /feedback in the TUI, or with feedback/upload."
                : "No report is in this state. Choose all states to see the others."}
            </p>
          ) : (
            <Table head={["When", "User", "Kind", "State", "Text", ""]} label="Feedback reports">
              {reports.map((report) => (
                <tr key={report.id}>
                  <td>
                    <When ms={report.createdAt * 1000} />
                  </td>
                  <td>
                    <UserLink userId={report.userId} />
                  </td>
                  <td>{report.classification}</td>
                  <td>
                    <span class={`badge ${BADGES[report.status] ?? ""}`}>{report.status}</span>
                    {report.error && <div class="small">{report.error}</div>}
                    {report.duplicateOf && <div class="small">the same as an earlier one</div>}
                  </td>
                  <td class="wide">
                    <Text text={report.reason} />
                    <About report={report} />
                  </td>
                  <td>
                    {report.status === "failed" && (
                      <button disabled={busy} onClick={() => retry(report)}>
                        Retry
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Answer>
      <More more={pages.more} />
      <p class="small quiet">
        What was collected for a report is not shown here: <code>threadhouse feedback show ID --content</code> on the host.
      </p>
    </>
  );
}

function Text({ text }: { text: string | null }) {
  if (!text) return <span class="quiet">no text</span>;
  if (text.length <= SHORT) return <span class="verbatim">{text}</span>;
  return (
    <details>
      <summary>{text.slice(0, SHORT)}…</summary>
      <span class="verbatim">{text}</span>
    </details>
  );
}

function About({ report }: { report: Report }) {
  const tags = Object.entries(report.tags);
  return (
    <div class="small quiet">
      <Id id={report.id} />
      {report.threadId && (
        <>
          , thread <Id id={report.threadId} />
        </>
      )}
      {report.includeLogs && ", with logs"}
      {tags.map(([name, value]) => (
        <div key={name}>
          {name}: {value}
        </div>
      ))}
    </div>
  );
}
