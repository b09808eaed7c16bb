/** One turn for operators: why it waits, what has happened, and what can be done. Never its content. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, messageOf } from "../protocol/http";
import type { Methods } from "../protocol/types";
import { pathOf } from "../state/route";
import { say } from "../state/toasts";
import { duration, moment } from "./format";

export function TurnDetails({ turnId }: { turnId: string }) {
  const found = useSignal<Methods["admin/turn/read"]["result"] | null>(null);
  const error = useSignal<string | null>(null);
  // Asked once and on demand, because each look is written into the audit log.
  const read = () =>
    call("admin/turn/read", { turnId }).then(
      (turn) => ((found.value = turn), (error.value = null)),
      (problem) => (error.value = messageOf(problem)),
    );
  useEffect(() => void read(), []);

  async function attempt(act: () => Promise<string>): Promise<void> {
    try {
      say(await act());
    } catch (problem) {
      say(messageOf(problem), "error");
    }
    await read();
  }

  const stop = (threadId: string) =>
    attempt(async () => ((await call("admin/turn/interrupt", { threadId })).interrupted ? "The turn is being stopped." : "The turn had ended already."));
  const requeue = () =>
    attempt(async () =>
      (await call("admin/turn/requeue", { turnId })).requeued ? "Another worker takes the turn." : "The turn is not at a worker, so it cannot be taken from one.",
    );

  const turn = found.value;
  const begin = turn?.timeline[0]?.atMs ?? 0;
  return (
    <>
      <p>
        <a href={pathOf({ page: "admin", tab: "turns", id: null })}>← All turns</a>
      </p>
      <h1>
        Turn <code class="path">{turnId}</code>
      </h1>
      {error.value && (
        <p class="error" role="alert">
          {error.value}
        </p>
      )}
      {turn === null && !error.value && <p class="quiet">Loading…</p>}
      {turn && (
        <>
          <p>
            <strong>{turn.waits?.state ?? turn.status}</strong> {turn.waits?.why}
          </p>
          <div class="row wrap">
            <button onClick={() => void read()}>Look again</button>
            {turn.waits && (
              <>
                <button onClick={() => void requeue()}>Give to another worker</button>
                <button class="danger" onClick={() => void stop(turn.threadId)}>
                  Stop
                </button>
              </>
            )}
          </div>
          <h2>Timeline</h2>
          <ol class="timeline">
            {turn.timeline.map((one, index) => (
              <li key={index}>
                <span class="small quiet nowrap" title={moment(one.atMs)}>
                  +{duration(one.atMs - begin)}
                </span>{" "}
                {one.what}
              </li>
            ))}
          </ol>
          {turn.log.length > 0 && (
            <>
              <h2>Log</h2>
              <pre class="terminal" tabIndex={0} aria-label="Log lines of the turn">
                {turn.log.join("\n")}
              </pre>
            </>
          )}
        </>
      )}
    </>
  );
}
