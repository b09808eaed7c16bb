/** One turn for operators: why it waits, what has happened, and what can be done. Never its content. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { call, messageOf } from "../protocol/http";
import type { Methods } from "../protocol/types";
import { pathOf } from "../state/route";
import { who } from "../state/session";
import { titleOf } from "../state/threads";
import { say } from "../state/toasts";
import { duration, second } from "./format";
import { AskFirst, Id, UserLink, useUsers } from "./operate/parts";

const PAUSES_MS = [500, 1000, 2000, 4000]; // between looks at a turn that is being stopped
type Read = Methods["admin/turn/read"]["result"];

/** The name of one's own thread; of another user's, operators see the id alone. */
function ThreadName({ turn: { threadId, userId } }: { turn: Read }) {
  const name = useSignal<string | null>(null);
  const isOwn = userId === who.value?.user.id;
  useEffect(() => {
    if (isOwn) void call("thread/read", { threadId }).then(({ thread }) => (name.value = titleOf(thread)), () => null);
  }, [isOwn]);
  if (!isOwn) return <Id id={threadId} />;
  return <a href={pathOf({ page: "thread", threadId })}>{name.value ?? threadId}</a>;
}

export function TurnDetails({ turnId }: { turnId: string }) {
  const found = useSignal<Read | null>(null);
  const error = useSignal<string | null>(null);
  // Asked once and on demand, because each look is written into the audit log.
  const read = () =>
    call("admin/turn/read", { turnId }).then(
      (turn) => ((found.value = turn), (error.value = null)),
      (problem) => (error.value = messageOf(problem)),
    );
  useEffect(() => void read(), []);
  useUsers();

  async function attempt(act: () => Promise<string>): Promise<void> {
    try {
      say(await act());
    } catch (problem) {
      say(messageOf(problem), "error");
    }
    await read();
  }

  // A worker stops a turn within moments, which no event tells.
  const isShown = useRef(true);
  useEffect(() => () => void (isShown.current = false), []);
  async function readUntilOver(): Promise<void> {
    for (const pauseMs of PAUSES_MS) {
      if (!isShown.current || !found.value?.waits) return;
      await new Promise((passed) => setTimeout(passed, pauseMs));
      await read();
    }
  }

  const stop = (threadId: string) =>
    attempt(async () => ((await call("admin/turn/interrupt", { threadId })).interrupted ? "The turn is being stopped." : "The turn had ended already.")).then(readUntilOver);
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
            <strong>{turn.waits?.state ?? (turn.status === "inProgress" ? "ending" : turn.status)}</strong> {turn.waits?.why}
            {turn.status === "failed" && "Its user sees the message of the error on the page of the thread; operators see its kind, in the timeline."}
          </p>
          <p>
            Of <UserLink userId={turn.userId} />, in the thread <ThreadName turn={turn} />
          </p>
          <div class="row wrap">
            <button onClick={() => void read()}>Look again</button>
            {turn.waits && (
              <>
                <AskFirst text="Give to another worker" keep="Leave it there" act={() => void requeue()} />
                <AskFirst text="Stop" keep="Let it go on" kind="danger" act={() => void stop(turn.threadId)} />
              </>
            )}
          </div>
          <h2>Timeline</h2>
          <ol class="timeline">
            {turn.timeline.map((one, index) => (
              <li key={index}>
                <span class="small quiet nowrap" title={second(one.atMs)}>
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
