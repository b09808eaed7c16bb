/** Where a user writes: begins a turn, steers the one that runs, or interrupts it. */
import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { call, messageOf, ServerError } from "../protocol/http";
import type { ThreadState } from "../state/thread";
import { say } from "../state/toasts";
import { type Choice, Choices } from "./Choices";
import { withImages } from "./images";

export function Composer({ state }: { state: ThreadState }) {
  const threadId = state.thread.id;
  const draft = useSignal(useMemo(() => loadDraft(threadId), [threadId]));
  const images = useSignal<readonly string[]>([]);
  const choice = useSignal<Choice>({});
  const busy = useSignal(false);
  const stopping = useSignal<string | null>(null);
  const sending = useRef<{ text: string; id: string } | null>(null);
  const running = state.turns.findLast((turn) => turn.status === "inProgress");

  const write = (text: string) => {
    draft.value = text;
    saveDraft(threadId, text);
  };

  const isEmpty = () => !draft.value.trim() && images.value.length === 0;

  async function paste(event: ClipboardEvent): Promise<void> {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    try {
      images.value = await withImages(images.value, files);
    } catch (error) {
      say(messageOf(error), "error");
    }
  }

  async function send(): Promise<void> {
    const text = draft.value.trim();
    if (isEmpty() || busy.value) return;
    busy.value = true;
    // The id makes a repeated request harmless: the first may have arrived although its answer did not.
    const content = [text, ...images.value].join("\n");
    if (sending.current?.text !== content) sending.current = { text: content, id: newId() };
    const pictures = images.value.map((url): Part => ({ type: "image", url }));
    const input: Part[] = text ? [{ type: "text", text }, ...pictures] : pictures;
    const message = { threadId, input, clientUserMessageId: sending.current.id };
    try {
      const steered = running !== undefined && (await steer(message, running.id));
      if (!steered) await call("turn/start", { ...message, ...choice.value });
      sending.current = null;
      choice.value = {};
      images.value = [];
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
    if (event.key === "Escape" && isEmpty() && running) void interrupt();
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
        onPaste={(event) => void paste(event)}
      />
      {images.value.length > 0 && (
        <ul class="pasted">
          {images.value.map((url, index) => (
            <li key={index}>
              <img src={url} alt={`Pasted image ${index + 1}`} />
              <button
                type="button"
                aria-label={`Remove image ${index + 1}`}
                onClick={() => (images.value = images.value.filter((_, other) => other !== index))}
              >
                ×
              </button>
            </li>
          ))}
        </ul>
      )}
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
        <button class="primary" disabled={busy.value || isEmpty()}>
          {running ? "Steer" : "Send"}
        </button>
      </div>
    </form>
  );
}

type Part = { type: "text"; text: string } | { type: "image"; url: string };

interface Message {
  threadId: string;
  input: Part[];
  clientUserMessageId: string;
}

/** Return an id that nobody guesses; crypto.randomUUID is missing where the page comes over plain http. */
function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
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
