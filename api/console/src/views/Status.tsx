import type { Thread } from "../protocol/types";

/** Return what a status means, in a word or two, and the class of its colour. goesOn: its turn has begun and does not wait, as far as is known */
export function statusText(status: Thread["status"], goesOn = true): { text: string; kind: string } {
  const flags = status.activeFlags ?? [];
  if (flags.includes("waitingOnApproval")) return { text: "Needs your approval", kind: "waits" };
  if (flags.includes("waitingOnUserInput")) return { text: "Needs your answer", kind: "waits" };
  if (status.type === "active") return goesOn ? { text: "Running", kind: "runs" } : { text: "Waiting", kind: "waits" };
  if (status.type === "systemError") return { text: "Failed", kind: "fails" };
  return { text: "Idle", kind: "idle" };
}

export function Status({ status }: { status: Thread["status"] }) {
  const { text, kind } = statusText(status);
  return <span class={`status ${kind}`}>{text}</span>;
}
