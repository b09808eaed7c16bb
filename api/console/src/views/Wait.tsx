/** Why a turn does not go on, when nothing has come of it for a while. */
import { useEffect, useState } from "preact/hooks";
import { call } from "../protocol/http";
import type { Methods } from "../protocol/types";
import { pathOf } from "../state/route";
import type { TurnState } from "../state/thread";
import { since } from "./format";

type Waiting = NonNullable<Methods["turn/wait/read"]["result"]["wait"]>;

const QUIET_MS = 2000; // since the last event, before the server is asked
const QUEUED_MS = 400; // the same of a turn that has not begun, as most do at once
const AGAIN_MS = 5000;
const SAYS_NOTHING = ["approval", "tool", "model"]; // the page shows these itself

/** Return why a turn waits; null: it goes on, as far as is known. turn: is a new object with each event of the turn */
export function useWait(threadId: string, turn: TurnState | undefined): Waiting | null {
  const [wait, setWait] = useState<Waiting | null>(null);
  useEffect(() => {
    setWait(null);
    if (turn === undefined) return;
    let timer = 0;
    const stopped = new AbortController();
    async function ask(): Promise<void> {
      if (!document.hidden) {
        const found = await call("turn/wait/read", { threadId }, { signal: stopped.signal }).catch(() => null);
        if (stopped.signal.aborted) return;
        setWait(found?.wait ?? null);
      }
      timer = window.setTimeout(ask, AGAIN_MS);
    }
    timer = window.setTimeout(ask, turn.startedAt === null ? QUEUED_MS : QUIET_MS);
    return () => {
      stopped.abort();
      window.clearTimeout(timer);
    };
  }, [threadId, turn]);
  return wait === null || SAYS_NOTHING.includes(wait.cause) ? null : wait;
}

/** message: what the user has sent, while no item shows it */
export function Wait({ wait, message }: { wait: Waiting; message: string }) {
  return (
    <div class="banner wait" role="status">
      <p>
        <strong>Waiting.</strong> {wait.why}
      </p>
      {message && <p class="small quiet verbatim">Your message: {message}</p>}
      {wait.running.length > 0 && (
        <ul>
          {wait.running.map((one) => (
            <li key={one.turnId}>
              <a href={pathOf({ page: "thread", threadId: one.threadId })}>{one.name || one.preview || "Untitled"}</a>
              {one.startedAtMs !== null && <span class="small quiet"> began {since(one.startedAtMs)}</span>}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
