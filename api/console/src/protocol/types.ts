/** The protocol's objects under short names, and the events of a thread, which OpenAPI does not describe. */
import type { components } from "./openapi";

type Schemas = components["schemas"];
export type Methods = Schemas["Methods"];
export type Thread = Schemas["ThreadObject"];
export type Turn = Schemas["TurnObject"];
export type TurnError = Schemas["TurnError"];
export type Item = Turn["items"][number];
export type ItemOf<Kind extends Item["type"]> = Extract<Item, { type: Kind }>;
export type FileUpdate = Schemas["FileUpdate"];
export type Session = Schemas["SessionResult"];
export type WaitingRequest = Schemas["WaitingRequest"];
export type Model = Schemas["Model"];
export type ShareLink = Schemas["ShareObject"];
export type OpenTurn = Schemas["OpenTurnObject"];
export type Worker = Schemas["WorkerObject"];
export type UserWithTurns = Schemas["UserWithTurns"];

export interface TokenCounts {
  totalTokens: number;
  inputTokens: number;
  cachedInputTokens: number;
  outputTokens: number;
  reasoningOutputTokens: number;
}

export interface TokenUsage {
  total: TokenCounts;
  last: TokenCounts;
  modelContextWindow: number | null;
}

export interface PlanStep {
  step: string;
  status: "pending" | "inProgress" | "completed";
}

export interface ThreadSettings {
  model: string;
  effort: string | null;
  approvalPolicy: Session["approvalPolicy"];
  sandboxPolicy: Session["sandbox"];
}

interface OnTurn {
  threadId: string;
  turnId: string;
}

interface OnItem extends OnTurn {
  itemId: string;
}

/** The params of each notification that the console understands. */
export interface Notifications {
  "thread/started": { thread: Thread };
  "thread/status/changed": { threadId: string; status: Thread["status"] };
  "thread/name/updated": { threadId: string; threadName: string | null };
  "thread/archived": { threadId: string };
  "thread/unarchived": { threadId: string };
  "thread/deleted": { threadId: string };
  "thread/reverted": { threadId: string };
  "thread/settings/updated": { threadId: string; threadSettings: ThreadSettings };
  "thread/tokenUsage/updated": OnTurn & { tokenUsage: TokenUsage };
  "turn/started": { threadId: string; turn: Turn };
  "turn/completed": { threadId: string; turn: Turn };
  "turn/plan/updated": OnTurn & { explanation: string | null; plan: PlanStep[] };
  "item/started": OnTurn & { item: Item };
  "item/completed": OnTurn & { item: Item };
  "item/agentMessage/delta": OnItem & { delta: string };
  "item/plan/delta": OnItem & { delta: string };
  "item/commandExecution/outputDelta": OnItem & { delta: string };
  "item/reasoning/summaryPartAdded": OnItem & { summaryIndex: number };
  "item/reasoning/summaryTextDelta": OnItem & { delta: string; summaryIndex: number };
  "item/reasoning/textDelta": OnItem & { delta: string; contentIndex: number };
  error: OnTurn & { error: TurnError; willRetry: boolean };
  warning: { threadId: string | null; message: string };
  "serverRequest/resolved": { threadId: string; requestId: number };
  "threadhouse/cursorExpired": { threadId: string; message: string };
}

export type Notification = {
  [Name in keyof Notifications]: { method: Name; params: Notifications[Name]; id?: undefined };
}[keyof Notifications];

/** A request of the server, such as one for an approval. */
export interface ServerRequest {
  id: number;
  method: string;
  params: { [name: string]: unknown } & { threadId: string; turnId: string; itemId?: string };
}

export type ThreadEvent = Notification | ServerRequest;

export function isRequest(event: ThreadEvent): event is ServerRequest {
  return event.id !== undefined;
}
