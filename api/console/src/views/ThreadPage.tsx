/** One thread: its turns as they go on, what it asks, and where to write. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { Item } from "../protocol/types";
import { messageOf } from "../protocol/http";
import { useKeys } from "../state/keys";
import { type OpenThread, openThread, ownThread } from "../state/openThread";
import { pathOf } from "../state/route";
import { who } from "../state/session";
import type { ThreadState, TurnState } from "../state/thread";
import { titleOf } from "../state/threads";
import { say } from "../state/toasts";
import { Composer } from "./Composer";
import { count, duration, shortPath } from "./format";
import { Cwd } from "./Diff";
import { Guard } from "./Guard";
import { ItemView } from "./Items";
import { memo } from "./memo";
import { RequestCard } from "./RequestCard";
import { Share } from "./Share";
import { Status, statusText } from "./Status";

const AT_END_PIXELS = 80;

export function ThreadPage({ threadId }: { threadId: string }) {
  const open = useMemo(() => openThread(ownThread(threadId)), [threadId]);
  useEffect(() => open.close, [open]);
  const sharing = useSignal(false);
  const state = open.state.value;
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
    <ThreadView open={open} state={state} end={<Composer state={state} />}>
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

export interface ThreadViewProps {
  open: OpenThread;
  state: ThreadState;
  /** What stands below the turns; null: the thread is only read. */
  end: ComponentChildren;
  /** What stands beside the title. */
  children?: ComponentChildren;
}

export function ThreadView({ open, state, end, children }: ThreadViewProps) {
  return (
    <section class="thread" aria-label={titleOf(state.thread)}>
      <Head state={state} isOwn={end !== null}>
        {children}
      </Head>
      {open.trouble.value && (
        <p class="banner" role="status">
          The connection is lost and is tried again. The turn goes on, and nothing will be missing.
        </p>
      )}
      <Cwd.Provider value={state.thread.cwd}>
        <Transcript open={open} state={state} isOwn={end !== null} />
      </Cwd.Provider>
      {end}
    </section>
  );
}

function Head({ state, isOwn, children }: { state: ThreadState; isOwn: boolean; children: ComponentChildren }) {
  const { thread, usage } = state;
  const { text } = statusText(thread.status);
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
        <h1>{titleOf(thread)}</h1>
        {children}
      </div>
      <p class="facts small quiet">
        <Status status={thread.status} />
        {isOwn && (
          <span class="path" title={`The agent works in ${thread.cwd}`}>
            {thread.cwd.endsWith(`/${thread.id}`) ? "own workspace" : shortPath(thread.cwd)}
          </span>
        )}
        {usage && (
          <span title={tokens ?? ""}>
            {count(usage.total.totalTokens)} tokens
            {context ? `, context ${Math.min(100, Math.round((usage.last.totalTokens / context) * 100))} %` : ""}
          </span>
        )}
      </p>
      <p class="unseen" role="status" aria-live="polite">
        {text}
      </p>
    </header>
  );
}

function Transcript({ open, state, isOwn }: { open: OpenThread; state: ThreadState; isOwn: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useSignal(true);
  const toEnd = () => {
    atEnd.value = true;
    box.current?.scrollTo({ top: box.current.scrollHeight });
  };
  useLayoutEffect(() => {
    if (atEnd.peek()) toEnd();
  }, [state]);
  useEffect(() => {
    const resized = new ResizeObserver(() => atEnd.peek() && toEnd());
    resized.observe(box.current!);
    return () => resized.disconnect();
  }, []);
  useKeys([{ key: ".", about: "Jump to the latest", act: toEnd }]);
  const noticeScroll = () => {
    const { scrollHeight, scrollTop, clientHeight } = box.current!;
    atEnd.value = scrollHeight - scrollTop - clientHeight < AT_END_PIXELS;
  };
  return (
    <div class="transcript" ref={box} onScroll={noticeScroll} tabIndex={0} role="log" aria-live="off" aria-label="Turns">
      {open.older.value && (
        <button class="older" onClick={() => open.loadOlder().catch((error) => say(messageOf(error), "error"))}>
          Earlier turns
        </button>
      )}
      {state.turns.length === 0 && <p class="quiet center">Nothing has been written here yet. {isOwn && "Say below what the agent shall do."}</p>}
      {state.turns.map((turn) => (
        <Guard key={turn.id} what="turn" of={turn}>
          <TurnView turn={turn} />
        </Guard>
      ))}
      {state.requests.map((request, index) => (
        <RequestCard key={request.id} request={request} item={itemOf(state, request.params.itemId)} place={index} />
      ))}
      {!atEnd.value && (
        <button class="to-end" onClick={toEnd}>
          ↓ Latest
        </button>
      )}
    </div>
  );
}

function itemOf(state: ThreadState, itemId: string | undefined): Item | null {
  return state.turns.flatMap((turn) => turn.items).findLast((item) => item.id === itemId) ?? null;
}

const TurnView = memo(function TurnView({ turn }: { turn: TurnState }) {
  return (
    <article class="turn">
      {turn.items.map((item) => (
        <Guard key={item.id} what="item" of={item}>
          <ItemView item={item} />
        </Guard>
      ))}
      {turn.plan.length > 0 && <Plan turn={turn} />}
      {turn.notices.length > 0 && turn.status === "inProgress" && <p class="notice small">{turn.notices.at(-1)}</p>}
      <TurnEnd turn={turn} />
    </article>
  );
});

const STEP_WORDS = { completed: "Done", inProgress: "Now", pending: "Later" };

function Plan({ turn }: { turn: TurnState }) {
  return (
    <div class="plan card" role="group" aria-label="Plan">
      <strong class="small">Plan</strong>
      <ol>
        {turn.plan.map((step, index) => (
          <li key={index} class={step.status}>
            <span class="small step-word">{STEP_WORDS[step.status] ?? step.status}</span> {step.step}
          </li>
        ))}
      </ol>
    </div>
  );
}

function TurnEnd({ turn }: { turn: TurnState }) {
  if (turn.status === "inProgress") return <p class="turn-end small quiet working">{turn.startedAt === null ? "Queued" : "Working"}</p>;
  const how = { completed: "Done", interrupted: "Interrupted", failed: "Failed" }[turn.status];
  return (
    <div class="turn-end small quiet">
      {turn.error && (
        <p class="error" role="alert">
          {turn.error.message}
          {turn.error.additionalDetails && <span class="verbatim"> {turn.error.additionalDetails}</span>}
        </p>
      )}
      <p>
        {how} {turn.durationMs !== null && `in ${duration(turn.durationMs)}`}
      </p>
    </div>
  );
}
