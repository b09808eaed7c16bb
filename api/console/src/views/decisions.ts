/** The answers that a server request can get with one key. */
import type { WaitingRequest } from "../protocol/types";
import { shortened, textOf, visibleLine } from "./visible";

export interface Decision {
  key: string;
  text: string;
  result: object;
  kind?: string;
  /** Whether it lets something happen, for which all of the request must have been shown. */
  allows?: boolean;
  /** What is not asked about any more afterwards, as a sentence. */
  covers?: string;
}

interface Request {
  method: string;
  params: { readonly [name: string]: unknown };
}

export const COMMAND = "item/commandExecution/requestApproval";
export const PATCH = "item/fileChange/requestApproval";
export const QUESTION = "item/tool/requestUserInput";
export const ELICITATION = "mcpServer/elicitation/request";

/** What an MCP server's request says beside its message. */
export interface Meta {
  codex_approval_kind?: unknown;
  persist?: unknown;
  tool_params?: unknown;
}

export function metaOf(params: Request["params"]): Meta | null {
  const meta = params._meta;
  return typeof meta === "object" && meta !== null && "codex_approval_kind" in meta ? meta : null;
}

export function titleOf({ method, params }: Request): string {
  if (method === COMMAND) return "May this command run?";
  if (method === PATCH) return "May these files be changed?";
  if (method === QUESTION) return "A question for you";
  if (method === ELICITATION) return metaOf(params) ? "May this tool be called?" : `${shortened(visibleLine(textOf(params.serverName)), 60)} asks you`;
  return "Another client is asked";
}

export function decisionsOf(request: Request): Decision[] {
  if (request.method === COMMAND || request.method === PATCH) return approvalDecisions(request);
  return request.method === ELICITATION ? elicitationDecisions(request.params) : [];
}

/** Return the beginning of commands that can be allowed for ever, as a shell would read it; "": none is offered. */
export function prefixOf(params: Request["params"]): string {
  const prefix = params.proposedExecpolicyAmendment;
  if (!Array.isArray(prefix)) return "";
  return prefix.map(textOf).map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
}

const OF_THREAD: Record<string, string> = {
  [COMMAND]: "this command, word for word, runs in this folder without a question.",
  [PATCH]: "patches to these files are applied without a question.",
};

function approvalDecisions({ method, params }: Request): Decision[] {
  const prefix = prefixOf(params);
  const decide = (key: string, text: string, decision: unknown, { kind, covers }: Pick<Decision, "kind" | "covers"> = {}): Decision => ({
    key,
    text,
    result: { decision },
    kind,
    covers,
    allows: decision !== "decline" && decision !== "cancel",
  });
  const amendment = { acceptWithExecpolicyAmendment: { execpolicy_amendment: params.proposedExecpolicyAmendment } };
  return [
    decide("a", "Accept", "accept", { kind: "primary" }),
    decide("s", "Accept in this thread", "acceptForSession", { covers: `Accept in this thread: from now on, in this thread alone, ${OF_THREAD[method]}` }),
    ...(prefix
      ? [
          decide("p", `Always allow “${shortened(visibleLine(prefix), 60)}”`, amendment, {
            covers: "Always allow: from now on, in all your threads, commands that begin with these words run without a question.",
          }),
        ]
      : []),
    decide("d", "Decline", "decline"),
    decide("x", "Decline and stop the turn", "cancel", { kind: "danger" }),
  ];
}

const ANY_ARGUMENTS = "this tool is called without a question, whatever its arguments are.";

function elicitationDecisions(params: Request["params"]): Decision[] {
  const meta = metaOf(params);
  const decline: Decision = { key: "d", text: "Decline", result: { action: "decline", content: null, _meta: null } };
  const accept = (key: string, text: string, persist?: string, { kind, covers }: Pick<Decision, "kind" | "covers"> = {}): Decision => ({
    key,
    text,
    kind,
    covers,
    allows: true,
    result: { action: "accept", content: meta ? {} : null, _meta: persist ? { persist } : null },
  });
  if (meta) {
    const persists = Array.isArray(meta.persist) ? meta.persist : [];
    return [
      accept("a", "Accept", undefined, { kind: "primary" }),
      ...(persists.includes("session")
        ? [accept("s", "Accept in this thread", "session", { covers: `Accept in this thread: from now on, in this thread alone, ${ANY_ARGUMENTS}` })]
        : []),
      ...(persists.includes("always") ? [accept("p", "Always allow this tool", "always", { covers: `Always allow: from now on, in all your threads, ${ANY_ARGUMENTS}` })] : []),
      decline,
    ];
  }
  if (params.mode === "url") return [accept("a", "I have done that", undefined, { kind: "primary" }), decline];
  return [decline]; // a form sends what it was filled with
}

const DECISION_TEXTS: Record<string, string> = {
  accept: "Accepted:",
  acceptForSession: "Accepted in the thread:",
  acceptWithExecpolicyAmendment: "Always allowed:",
  decline: "Declined:",
  cancel: "Declined, and the turn stopped:",
  answered: "Answered:",
};

/** Return a decision in words. decision: a word that a client has chosen */
export function decisionText(decision: string): string {
  return Object.hasOwn(DECISION_TEXTS, decision) ? DECISION_TEXTS[decision]! : `Answered “${decision}”:`;
}

/** Return who sent an answer; only the user's own clients can. */
export function answeredBy({ via, keyName }: NonNullable<WaitingRequest["answer"]>): string {
  if (via === "timeout") return "by nobody in time";
  if (via === null) return "by you";
  const how = via === "websocket" ? "from a connected client" : "from a browser or a script";
  return keyName === null ? `by you, ${how}` : `by you, ${how}, with the key “${keyName.slice(0, 60)}”`;
}
