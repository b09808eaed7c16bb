/** One thread: its facts, its turns, and where to write. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { type OpenThread, openThread, ownThread } from "../state/openThread";
import { pathOf } from "../state/route";
import { who } from "../state/session";
import type { ThreadState } from "../state/thread";
import { setArchived, titleOf } from "../state/threads";
import { Composer } from "./Composer";
import { count, plural, shortPath } from "./format";
import { Cwd } from "./Diff";
import { Share } from "./Share";
import { statusText } from "./Status";
import { useWait, Wait } from "./Wait";
import { Transcript } from "./Transcript";

export function ThreadPage({ threadId }: { threadId: string }) {
  const open = useMemo(() => openThread(ownThread(threadId)), [threadId]);
  useEffect(() => open.close, [open]);
  const sharing = useSignal(false);
  const state = open.state.value;
  const active = state?.turns.find((turn) => turn.status === "inProgress");
  const wait = useWait(threadId, active);
  if (open.error.value) {
    return (
      <section class="center stack">
        <h1>This thread cannot be shown</h1>
        <p role="alert">{open.error.value}</p>
        <p>
          <a href={pathOf({ page: "threads" })}>All threads</a>
        </p>
      </section>
    );
  }
  if (state === null) return <p class="center quiet">{open.trouble.value ?? "Loading…"}</p>;
  return (
    <ThreadView
      open={open}
      state={state}
      waits={wait !== null}
      end={
        <>
          {wait && <Wait wait={wait} message={state.turns.some((turn) => turn.items.length > 0) ? "" : state.thread.preview} />}
          {state.isArchived ? <Archived threadId={threadId} /> : <Composer state={state} sent={() => (open.latest.value += 1)} />}
        </>
      }
    >
      <nav class="thread-links" aria-label="Of this thread">
        <a href={pathOf({ page: "thread", threadId, view: "changes" })}>Changes and files</a>
        {who.value?.mode === "session" && (
          <button class="plain" onClick={() => (sharing.value = true)}>
            Share
          </button>
        )}
      </nav>
      {sharing.value && <Share threadId={threadId} close={() => (sharing.value = false)} />}
    </ThreadView>
  );
}

/** What stands in place of the message box. */
function Archived({ threadId }: { threadId: string }) {
  return (
    <p class="composer">
      <span class="row wrap">
        This thread is archived: unarchive it to write here. <button onClick={() => void setArchived(threadId, false)}>Unarchive</button>
      </span>
    </p>
  );
}

export interface ThreadViewProps {
  open: OpenThread;
  state: ThreadState;
  /** Its turn does not go on, and the page says why. */
  waits?: boolean;
  /** What stands below the turns; null: the thread is only read. */
  end: ComponentChildren;
  /** What stands beside the title. */
  children?: ComponentChildren;
}

export function ThreadView({ open, state, waits = false, end, children }: ThreadViewProps) {
  return (
    <section class="thread" aria-label={titleOf(state.thread)}>
      <Head state={state} waits={waits} isOwn={end !== null}>
        {children}
      </Head>
      {open.trouble.value && (
        <p class="banner" role="status">
          The connection is lost and is tried again. The turn goes on, and nothing will be missing.
        </p>
      )}
      <Cwd.Provider value={state.thread.cwd}>
        <Transcript open={open} state={state} waits={waits} isOwn={end !== null} />
      </Cwd.Provider>
      {end}
    </section>
  );
}

const ARCHIVED = { text: "Archived", kind: "idle" };

function Head({ state, waits, isOwn, children }: { state: ThreadState; waits: boolean; isOwn: boolean; children: ComponentChildren }) {
  const { thread, usage } = state;
  const goesOn = state.turns.at(-1)?.startedAt !== null && !waits;
  const shown = state.isArchived ? ARCHIVED : statusText(thread.status, goesOn);
  const context = usage?.modelContextWindow;
  const tokens =
    usage &&
    `${count(usage.total.inputTokens)} in (${count(usage.total.cachedInputTokens)} cached), ${count(usage.total.outputTokens)} out (${count(usage.total.reasoningOutputTokens)} reasoning)`;
  return (
    <header class="thread-top">
      {isOwn && (
        <a class="back narrow-only" href={pathOf({ page: "threads" })}>
          ← Threads
        </a>
      )}
      <div class="thread-title-row">
        <h1 dir="auto">{titleOf(thread)}</h1>
        {children}
      </div>
      <p class="facts small quiet">
        <span class={`status ${shown.kind}`}>{shown.text}</span>
        {isOwn && (
          <span class="path" title={`The agent works in ${thread.cwd}`}>
            {thread.cwd.endsWith(`/${thread.id}`) ? "own workspace" : shortPath(thread.cwd)}
          </span>
        )}
        {usage && (
          <span title={tokens ?? ""}>
            {plural(usage.total.totalTokens, "token")}
            {context ? `, context ${Math.min(100, Math.round((usage.last.totalTokens / context) * 100))} %` : ""}
          </span>
        )}
      </p>
      <p class="unseen" role="status" aria-live="polite">
        {shown.text}
      </p>
    </header>
  );
}
