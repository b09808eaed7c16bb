/** Where a user writes: begins a turn, steers the one that runs, or interrupts it. */
import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { call, messageOf, ServerError } from "../protocol/http";
import type { ThreadState } from "../state/thread";
import { say } from "../state/toasts";
import { type Choice, Choices } from "./Choices";

export function Composer({ state }: { state: ThreadState }) {
  const threadId = state.thread.id;
  const draft = useSignal(useMemo(() => loadDraft(threadId), [threadId]));
  const choice = useSignal<Choice>({});
  const busy = useSignal(false);
  const stopping = useSignal<string | null>(null);
  const sending = useRef<{ text: string; id: string } | null>(null);
  const running = state.turns.findLast((turn) => turn.status === "inProgress");

  const write = (text: string) => {
    draft.value = text;
    saveDraft(threadId, text);
  };

  async function send(): Promise<void> {
    const text = draft.value.trim();
    if (!text || busy.value) return;
    busy.value = true;
    // The id makes a repeated request harmless: the first may have arrived although its answer did not.
    if (sending.current?.text !== text) sending.current = { text, id: crypto.randomUUID?.() ?? String(Math.random()) };
    const input = [{ type: "text" as const, text }];
    const message = { threadId, input, clientUserMessageId: sending.current.id };
    try {
      const steered = running !== undefined && (await steer(message, running.id));
      if (!steered) await call("turn/start", { ...message, ...choice.value });
      sending.current = null;
      choice.value = {};
      write("");
    } catch (error) {
      say(messageOf(error), "error");
    } finally {
      busy.value = false;
    }
  }

  async function interrupt(): Promise<void> {
    if (!running || stopping.value === running.id) return;
    stopping.value = running.id;
    try {
      await call("turn/interrupt", { threadId, turnId: running.id });
    } catch (error) {
      stopping.value = null;
      say(messageOf(error), "error");
    }
  }

  function press(event: KeyboardEvent): void {
    if (event.isComposing) return;
    if (event.key === "Escape" && !draft.value.trim() && running) void interrupt();
    if (event.key !== "Enter" || event.shiftKey || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    void send();
  }

  return (
    <form class="composer" onSubmit={(event) => (event.preventDefault(), void send())}>
      <textarea
        aria-label="Message to the agent"
        placeholder={running ? "Steer the turn that runs" : "What shall the agent do?"}
        rows={Math.min(10, Math.max(2, draft.value.split("\n").length))}
        value={draft.value}
        onInput={(event) => write(event.currentTarget.value)}
        onKeyDown={press}
      />
      <div class="row wrap">
        {!running && (
          <details class="settings" open={matchMedia("(min-width: 48rem)").matches}>
            <summary class="small">Model, sandbox, approvals</summary>
            <Choices choice={choice.value} settings={state.settings} change={(changed) => (choice.value = changed)} />
          </details>
        )}
        <span class="push" />
        {running && (
          <button type="button" class="danger" disabled={stopping.value === running.id} onClick={() => void interrupt()}>
            {stopping.value === running.id ? "Interrupting" : "Interrupt"}
          </button>
        )}
        <button class="primary" disabled={busy.value || !draft.value.trim()}>
          {running ? "Steer" : "Send"}
        </button>
      </div>
    </form>
  );
}

interface Message {
  threadId: string;
  input: { type: "text"; text: string }[];
  clientUserMessageId: string;
}

/** Add a message to the running turn. Returns false when the turn has just ended, so that the message begins one. */
async function steer(message: Message, expectedTurnId: string): Promise<boolean> {
  try {
    await call("turn/steer", { ...message, expectedTurnId });
    return true;
  } catch (error) {
    if (error instanceof ServerError && (error.status === 400 || error.status === 409)) return false;
    throw error;
  }
}

// A draft survives a reload, in this tab alone.

function loadDraft(threadId: string): string {
  try {
    return sessionStorage.getItem(`draft:${threadId}`) ?? "";
  } catch {
    return "";
  }
}

function saveDraft(threadId: string, text: string): void {
  try {
    if (text) sessionStorage.setItem(`draft:${threadId}`, text);
    else sessionStorage.removeItem(`draft:${threadId}`);
  } catch {
    // Without storage a reload loses the draft.
  }
}
