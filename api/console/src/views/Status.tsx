import type { Thread } from "../protocol/types";

/** Return what a status means, in a word or two, and the class of its colour. */
export function statusText(status: Thread["status"]): { text: string; kind: string } {
  const flags = status.activeFlags ?? [];
  if (flags.includes("waitingOnApproval")) return { text: "Needs approval", kind: "waits" };
  if (flags.includes("waitingOnUserInput")) return { text: "Asks you", kind: "waits" };
  if (status.type === "active") return { text: "Running", kind: "runs" };
  if (status.type === "systemError") return { text: "Failed", kind: "fails" };
  return { text: "Idle", kind: "idle" };
}

export function Status({ status }: { status: Thread["status"] }) {
  const { text, kind } = statusText(status);
  return <span class={`status ${kind}`}>{text}</span>;
}
