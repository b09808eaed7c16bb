/**
 * The reducer: a thread's state, and how each event of the protocol changes it.
 *
 * It is pure, and forgiving: an event that the state has already seen changes nothing. So the events that came while a
 * thread was being read can be applied to what was read, and the result is the same as if it were read later.
 */
import type { Item, PlanStep, ServerRequest, Session, Thread, ThreadEvent, TokenUsage, Turn } from "../protocol/types";
import { isRequest } from "../protocol/types";

export interface TurnState extends Omit<Turn, "items" | "itemsView"> {
  /** Those that are open have no `completedAtMs`. */
  items: readonly Item[];
  plan: readonly PlanStep[];
  /** What went wrong on the way, such as a lost connection to the model. */
  notices: readonly string[];
}

export interface Settings {
  model: string;
  effort: string | null;
  approvalPolicy: Session["approvalPolicy"];
  sandbox: Session["sandbox"];
}

/** What the page shows of a thread, whoever reads it. */
export type ThreadFacts = Pick<Thread, "id" | "name" | "preview" | "status" | "cwd">;

export interface ThreadState {
  thread: ThreadFacts;
  settings: Settings | null;
  turns: readonly TurnState[];
  /** What waits for an answer of a person, oldest first. */
  requests: readonly ServerRequest[];
  usage: TokenUsage | null;
  /** It takes no message until it is unarchived. */
  isArchived: boolean;
  /** "gone": deleted. "stale": more has changed than events say, or some were missed; the thread must be read again. */
  fate: "alive" | "stale" | "gone";
}

/** Return the state of a thread that was read. turns: oldest first */
export function readThread(thread: ThreadFacts, turns: readonly Turn[], settings: Settings | null): ThreadState {
  return { thread, settings, turns: turns.map(readTurn), requests: [], usage: null, isArchived: false, fate: "alive" };
}

export function readTurn(turn: Turn): TurnState {
  const { items, itemsView: _, ...rest } = turn;
  return { ...rest, items, plan: [], notices: [] };
}

/** Return the state with what is before it. turns: oldest first; one that the state has brings items before those it has */
export function withOlder(state: ThreadState, turns: readonly Turn[]): ThreadState {
  const known = new Map(state.turns.map((turn) => [turn.id, turn]));
  const older = turns.filter((turn) => !known.has(turn.id)).map(readTurn);
  for (const { id, items } of turns) {
    const turn = known.get(id);
    if (turn === undefined || items.length === 0) continue;
    const shown = new Set(turn.items.map((item) => item.id));
    known.set(id, { ...turn, items: [...items.filter((item) => !shown.has(item.id)), ...turn.items] });
  }
  return { ...state, turns: [...older, ...known.values()] };
}

export function settingsOf(session: Session): Settings {
  const { model, reasoningEffort, approvalPolicy, sandbox } = session;
  return { model, effort: reasoningEffort, approvalPolicy, sandbox };
}

export function reduceAll(state: ThreadState, events: readonly ThreadEvent[]): ThreadState {
  return events.reduce(applied, state);
}

/** Return the state after an event; one that cannot be applied has the thread read again. */
function applied(state: ThreadState, event: ThreadEvent): ThreadState {
  try {
    return reduce(state, event);
  } catch {
    return { ...state, fate: "stale" };
  }
}

export function reduce(state: ThreadState, event: ThreadEvent): ThreadState {
  if (isRequest(event)) {
    const isKnown = state.requests.some((request) => request.id === event.id);
    return isKnown ? state : { ...state, requests: [...state.requests, event] };
  }
  switch (event.method) {
    case "thread/status/changed":
      return withThread(state, { status: event.params.status });
    case "thread/name/updated":
      return withThread(state, { name: event.params.threadName });
    case "thread/settings/updated": {
      const { model, effort, approvalPolicy, sandboxPolicy } = event.params.threadSettings;
      return { ...state, settings: { model, effort, approvalPolicy, sandbox: sandboxPolicy } };
    }
    case "thread/tokenUsage/updated":
      return { ...state, usage: event.params.tokenUsage };
    case "thread/archived":
      return { ...state, isArchived: true };
    case "thread/deleted":
      return { ...state, fate: "gone" };
    case "thread/unarchived": // it has settings again
    case "thread/reverted":
      return { ...state, fate: "stale" };
    case "threadhouse/cursorExpired": // those that still wait follow it; nothing tells of those that were answered
      return { ...state, requests: [], fate: "stale" };
    case "serverRequest/resolved":
      return { ...state, requests: state.requests.filter((request) => request.id !== event.params.requestId) };
    case "turn/started":
      return withTurnStarted(state, event.params.turn);
    case "turn/completed":
      return withTurnCompleted(state, event.params.turn);
    case "turn/plan/updated":
      return withTurn(state, event.params.turnId, (turn) => ({ ...turn, plan: event.params.plan }));
    case "error":
      return withTurn(state, event.params.turnId, (turn) => withError(turn, event.params));
    case "item/started":
      return withTurn(state, event.params.turnId, (turn) => withItemStarted(turn, event.params.item));
    case "item/completed":
      return withTurn(withPreview(state, event.params.item), event.params.turnId, (turn) => withItemCompleted(turn, event.params.item));
    case "item/agentMessage/delta":
    case "item/plan/delta":
    case "item/commandExecution/outputDelta":
    case "item/reasoning/summaryPartAdded":
    case "item/reasoning/summaryTextDelta":
    case "item/reasoning/textDelta":
      return withTurn(state, event.params.turnId, (turn) => withDelta(turn, event));
    default:
      return state;
  }
}

// -- the thread and its turns

function withThread(state: ThreadState, changes: Partial<ThreadFacts>): ThreadState {
  return { ...state, thread: { ...state.thread, ...changes } };
}

const PREVIEW_CHARACTERS = 2000;
const REQUEST_HEADING = "## My request for Codex:"; // of IDEs, which put what they know of their state before it

/** The first message that shows something becomes the preview, as the server has it (shared/protocol/user_input.py). */
function withPreview(state: ThreadState, item: Item): ThreadState {
  if (state.thread.preview !== "" || item.type !== "userMessage") return state;
  const text = item.content.map((part) => (part.type === "text" ? part.text : "")).join("");
  const heading = text.indexOf(REQUEST_HEADING);
  const shown = (heading < 0 ? text : text.slice(heading + REQUEST_HEADING.length)).trim();
  const hasImage = item.content.some((part) => part.type === "image" || part.type === "localImage");
  const preview = shown === "" && hasImage ? "[Image]" : [...shown].slice(0, PREVIEW_CHARACTERS).join("");
  return preview === "" ? state : withThread(state, { preview });
}

function withTurn(state: ThreadState, turnId: string, change: (turn: TurnState) => TurnState): ThreadState {
  const index = state.turns.findLastIndex((turn) => turn.id === turnId);
  const turn = state.turns[index];
  if (turn === undefined) return state;
  const changed = change(turn);
  return changed === turn ? state : { ...state, turns: state.turns.with(index, changed) };
}

function withTurnStarted(state: ThreadState, turn: Turn): ThreadState {
  if (state.turns.every((known) => known.id !== turn.id)) return { ...state, turns: [...state.turns, readTurn(turn)] };
  // A turn that was read while it was queued has no time of its start.
  return withTurn(state, turn.id, (known) => ({ ...known, startedAt: known.startedAt ?? turn.startedAt }));
}

function withTurnCompleted(state: ThreadState, ended: Turn): ThreadState {
  const started = withTurnStarted(state, { ...ended, items: [] });
  const { items: _, itemsView: __, ...members } = ended;
  const requests = started.requests.filter((request) => request.params.turnId !== ended.id);
  return withTurn({ ...started, requests }, ended.id, (turn) => ({
    ...turn,
    ...members,
    items: turn.items.filter((item) => isComplete(item) || item.type === "commandExecution"), // some run on after their turn
  }));
}

function withError(turn: TurnState, { error, willRetry }: { error: Turn["error"]; willRetry: boolean }): TurnState {
  if (turn.status !== "inProgress" || error === null) return turn;
  // A retry begins the model's answer anew.
  const items = willRetry ? turn.items.filter((item) => isComplete(item) || !isAnswer(item)) : turn.items;
  const cause = error.additionalDetails ? `${error.message} (${error.additionalDetails})` : error.message;
  return { ...turn, items, notices: willRetry ? [...turn.notices, cause] : turn.notices };
}

// -- items

function isComplete(item: Item): boolean {
  return item.completedAtMs !== null;
}

function isAnswer(item: Item): boolean {
  return item.type === "agentMessage" || item.type === "reasoning" || item.type === "plan";
}

/** Whether it may begin while a message of the same answer is open. */
function isInside(item: Item): boolean {
  return item.type === "plan" || item.type === "webSearch";
}

function withItemStarted(turn: TurnState, item: Item): TurnState {
  if (turn.items.some((known) => known.id === item.id)) return turn;
  if (turn.status !== "inProgress") return item.type === "commandExecution" ? withItemInPlace(turn, item) : turn;
  // Items of an answer come one after the other: one that never ended was cut off, by a user's message or with its worker.
  const isCutOff = (one: Item) => isAnswer(one) && !isComplete(one) && one.startedAtMs! <= item.startedAtMs!;
  const items = isInside(item) ? turn.items : turn.items.filter((one) => !isCutOff(one));
  return withItemInPlace({ ...turn, items }, item);
}

function withItemCompleted(turn: TurnState, item: Item): TurnState {
  const index = turn.items.findLastIndex((known) => known.id === item.id);
  return index < 0 ? withItemInPlace(turn, item) : { ...turn, items: turn.items.with(index, item) };
}

/** A command that runs on is told of again to who comes later: its place is before the items that began after it. */
function withItemInPlace(turn: TurnState, item: Item): TurnState {
  const later = turn.items.findIndex((one) => item.type === "commandExecution" && one.startedAtMs! > item.startedAtMs!);
  return { ...turn, items: later < 0 ? [...turn.items, item] : turn.items.toSpliced(later, 0, item) };
}

type Delta = Extract<ThreadEvent, { params: { itemId: string } }>;

function withDelta(turn: TurnState, event: Delta): TurnState {
  const index = turn.items.findLastIndex((item) => item.id === event.params.itemId);
  const item = turn.items[index];
  if (item === undefined || isComplete(item)) return turn;
  const grown = grow(item, event);
  return grown === item ? turn : { ...turn, items: turn.items.with(index, grown) };
}

function grow(item: Item, event: Delta): Item {
  if (isRequest(event)) return item;
  if ((item.type === "agentMessage" || item.type === "plan") && isTextDelta(event)) {
    return { ...item, text: item.text + event.params.delta };
  }
  if (item.type === "commandExecution" && event.method === "item/commandExecution/outputDelta") {
    return { ...item, aggregatedOutput: (item.aggregatedOutput ?? "") + event.params.delta };
  }
  if (item.type !== "reasoning") return item;
  switch (event.method) {
    case "item/reasoning/summaryPartAdded":
      return { ...item, summary: withPart(item.summary, event.params.summaryIndex, "") };
    case "item/reasoning/summaryTextDelta":
      return { ...item, summary: withPart(item.summary, event.params.summaryIndex, event.params.delta) };
    case "item/reasoning/textDelta":
      return { ...item, content: withPart(item.content, event.params.contentIndex, event.params.delta) };
    default:
      return item;
  }
}

function isTextDelta(event: Delta): event is Extract<Delta, { method: "item/agentMessage/delta" | "item/plan/delta" }> {
  return event.method === "item/agentMessage/delta" || event.method === "item/plan/delta";
}

const MOST_PARTS = 1000;

function withPart(parts: readonly string[], index: number, delta: string): string[] {
  if (!Number.isInteger(index) || index < 0 || index >= MOST_PARTS) return [...parts];
  const grown = [...parts];
  while (grown.length <= index) grown.push("");
  grown[index] += delta;
  return grown;
}
