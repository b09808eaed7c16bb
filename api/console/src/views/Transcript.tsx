/** The turns of a thread as they go on, and what it asks. */
import { useSignal } from "@preact/signals";
import type { TargetedEvent } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { serverNowMs } from "../protocol/clock";
import { messageOf } from "../protocol/http";
import type { Item } from "../protocol/types";
import { useKeys } from "../state/keys";
import type { OpenThread } from "../state/openThread";
import type { ThreadState, TurnState } from "../state/thread";
import { say } from "../state/toasts";
import { Chunk, inChunks, NearView, watchNear } from "./Chunk";
import { duration, sentenceOf } from "./format";
import { Guard } from "./Guard";
import { memo } from "./memo";
import { RequestCard } from "./RequestCard";
import { Times } from "./Times";

const AT_END_PIXELS = 80;
const LOADS_SCREENS = 8; // above the window, before which older items are loaded

interface TranscriptProps {
  open: OpenThread;
  state: ThreadState;
  /** Its turn does not go on, and the page says why. */
  waits: boolean;
  /** The thread is the user's: not only read. */
  isOwn: boolean;
}

export function Transcript({ open, state, waits, isOwn }: TranscriptProps) {
  const box = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const near = useMemo(() => watchNear(box), []);
  const atEnd = useSignal(true);
  const seen = useRef<Place>({ scrollTop: 0, scrollHeight: 0, clientHeight: 0 });
  const toEnd = () => {
    atEnd.value = true;
    if (box.current === null) return;
    box.current.scrollTo({ top: box.current.scrollHeight });
    seen.current = placeOf(box.current); // the event of this move comes later, perhaps behind a turn of the wheel
  };
  const stayAtEnd = () => {
    if (!atEnd.peek() || box.current === null) return;
    if (isAbove(box.current, seen.current)) atEnd.value = false; // the event of that move is still to come
    else toEnd();
  };
  const older = useOlder(open, box);
  useLayoutEffect(() => {
    stayAtEnd();
    older.loadNear();
  }, [state]);
  useEffect(() => {
    const resized = new ResizeObserver(stayAtEnd);
    for (const one of [box, content]) resized.observe(one.current!);
    return () => (resized.disconnect(), near.disconnect());
  }, []);
  useEffect(() => {
    if (open.latest.value > 0) toEnd();
  }, [open.latest.value]);
  useKeys([{ key: ".", about: "Jump to the latest", act: toEnd }]);
  const noticeScroll = ({ currentTarget }: TargetedEvent<HTMLElement>) => {
    // Who scrolls up leaves the end at once, or text that comes meanwhile would take them back to it.
    if (currentTarget.scrollTop === seen.current.scrollTop) return older.loadNear();
    const isUp = isAbove(currentTarget, seen.current);
    seen.current = placeOf(currentTarget);
    const { scrollTop, scrollHeight, clientHeight } = seen.current;
    atEnd.value = scrollHeight - scrollTop - clientHeight < (isUp ? 1 : AT_END_PIXELS);
    older.loadNear();
  };
  // The wheel says so before anything has moved, and text that comes in between would stop the move.
  const noticeWheel = ({ deltaY, currentTarget }: TargetedEvent<HTMLElement, WheelEvent>) => {
    if (deltaY < 0 && currentTarget.scrollTop > 0) atEnd.value = false;
  };
  return (
    <div class="transcript" ref={box} onScroll={noticeScroll} onWheel={noticeWheel} tabIndex={0} role="log" aria-live="off" aria-label="Turns">
      <NearView.Provider value={near}>
        {open.hasOlder.value && (
          <button class="older" onClick={older.load}>
            Earlier
          </button>
        )}
        <div class="turns" ref={content}>
          {state.turns.length === 0 && <p class="quiet center">Nothing has been written here yet. {isOwn && "Say below what the agent shall do."}</p>}
          {state.turns.map((turn) => (
            <Guard key={turn.id} what="turn" of={turn}>
              <TurnView turn={turn} waits={waits} asks={state.requests.some((request) => request.params.turnId === turn.id)} />
            </Guard>
          ))}
          {state.requests.map((request, index) => (
            <RequestCard key={request.id} request={request} item={itemOf(state, request.params.itemId)} place={index} />
          ))}
        </div>
        {!atEnd.value && (
          <button class="to-end" onClick={toEnd}>
            ↓ Latest
          </button>
        )}
      </NearView.Provider>
    </div>
  );
}

type Place = Pick<Element, "scrollTop" | "scrollHeight" | "clientHeight">;

function placeOf({ scrollTop, scrollHeight, clientHeight }: Place): Place {
  return { scrollTop, scrollHeight, clientHeight };
}

/** Return whether somebody has scrolled up: what becomes shorter, or a window that becomes higher, also moves the top. */
function isAbove(now: Place, before: Place): boolean {
  return now.scrollTop < before.scrollTop && now.scrollHeight >= before.scrollHeight && now.clientHeight <= before.clientHeight;
}

/** Return how older items are loaded: what is on the screen stays where it is. */
function useOlder(open: OpenThread, box: { current: HTMLDivElement | null }) {
  const hasFailed = useRef(false);
  const leaveTop = () => {
    // A browser holds what is on the screen, but not at the very top.
    if (box.current?.scrollTop === 0) box.current.scrollTop = 1;
  };
  const load = async () => {
    try {
      await open.loadOlder(leaveTop);
      hasFailed.current = false;
    } catch (error) {
      hasFailed.current = true;
      say(messageOf(error), "error");
    }
  };
  const loadNear = () => {
    if (box.current === null) return; // an event that came as the page was left
    const { scrollTop, clientHeight } = box.current;
    if (open.hasOlder.peek() && !hasFailed.current && scrollTop <= LOADS_SCREENS * clientHeight) void load();
  };
  return { load, loadNear };
}

function itemOf(state: ThreadState, itemId: string | undefined): Item | null {
  return state.turns.flatMap((turn) => turn.items).findLast((item) => item.id === itemId) ?? null;
}

/** waits: the turn that is not done waits. asks: it goes on when somebody has answered */
const TurnView = memo(function TurnView({ turn, waits, asks }: { turn: TurnState; waits: boolean; asks: boolean }) {
  return (
    <article class="turn">
      {inChunks(turn.items).map((items) => (
        <Chunk key={items[0]!.id} items={items} />
      ))}
      {turn.plan.length > 0 && <Plan turn={turn} />}
      {turn.notices.length > 0 && turn.status === "inProgress" && <p class="notice small">{turn.notices.at(-1)}</p>}
      {turn.status === "inProgress" ? <TurnGoesOn turn={turn} waits={waits} asks={asks} /> : <TurnEnd turn={turn} status={turn.status} />}
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

function TurnGoesOn({ turn, waits, asks }: { turn: TurnState; waits: boolean; asks: boolean }) {
  if (asks) return <p class="turn-end small quiet">Waiting for an answer</p>;
  if (turn.startedAt === null || waits) return <p class="turn-end small quiet">Waiting</p>;
  return (
    <p class="turn-end small quiet working">
      <Working since={turn.startedAt} />
    </p>
  );
}

function TurnEnd({ turn, status }: { turn: TurnState; status: Exclude<TurnState["status"], "inProgress"> }) {
  const how = { completed: "Done", interrupted: "Interrupted", failed: "Failed" }[status];
  return (
    <div class="turn-end small quiet">
      {turn.error && (
        <p class="error" role="alert">
          {sentenceOf(turn.error.message)}
          {turn.error.additionalDetails && <span class="verbatim"> {turn.error.additionalDetails}</span>}
        </p>
      )}
      <div class="turn-sum">
        <p>
          {how} {turn.durationMs !== null && `in ${duration(turn.durationMs)}`}
        </p>
        {/* On the same line: it comes when the turn's first items are loaded, and must not move what is below. */}
        <Times turn={turn} />
      </div>
    </div>
  );
}

/** since: Unix time, in seconds */
function Working({ since }: { since: number }) {
  const nowMs = useSignal(serverNowMs());
  useEffect(() => {
    const timer = setInterval(() => (nowMs.value = serverNowMs()), 1000);
    return () => clearInterval(timer);
  }, []);
  const passed = Math.max(0, Math.floor(nowMs.value / 1000 - since));
  return <>Working for {passed < 60 ? `${passed} s` : `${Math.floor(passed / 60)} min ${passed % 60} s`}</>;
}
