/** Where a user writes: begins a turn, steers the one that runs, writes for the one after it, or interrupts it. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { call, ServerError } from "../protocol/http";
import { messageDraft, NO_MESSAGE, putBack, takeOut } from "../state/drafts";
import { inputOf, type Part } from "../state/message";
import { advance, enqueue } from "../state/queue";
import { noteSteered } from "../state/steered";
import type { ThreadState, TurnState } from "../state/thread";
import { attempt } from "../state/toasts";
import { Choices } from "./Choices";
import { focusPage, useFirstFocus } from "./focus";
import { withImages } from "./images";
import { Queue } from "./Queue";
import { SteeredMessages } from "./Steered";

/** sent: called when a message has arrived at the server */
export function Composer({ state, sent }: { state: ThreadState; sent: () => void }) {
  const threadId = state.thread.id;
  const draft = useMemo(() => messageDraft(threadId), [threadId]);
  const { text, images, choice, refused } = draft.value;
  const busy = draft.value.sending !== null;
  const isEmpty = !text.trim() && images.length === 0;
  const stopping = useSignal<string | null>(null);
  const area = useFirstFocus<HTMLTextAreaElement>();
  const running = state.turns.findLast((turn) => turn.status === "inProgress");

  useEffect(() => {
    if (!running) advance(threadId);
  }, [running === undefined]);

  const change = (changes: Partial<typeof draft.value>) => (draft.value = { ...draft.value, ...changes });

  async function paste(event: ClipboardEvent): Promise<void> {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    await attempt(async () => change({ images: await withImages(images, files) }));
  }

  /** Give the focus to the box before the button that was pressed is disabled, so that no key that is typed next acts. */
  function focusBox(): void {
    if (document.activeElement !== area.current) focusPage();
  }

  async function send(): Promise<void> {
    if (isEmpty || busy) return;
    focusBox();
    const taken = takeOut(draft.value);
    draft.value = taken;
    const message = { threadId, input: inputOf(text.trim(), images), clientUserMessageId: taken.tried.id };
    const isSent = await attempt(async () => {
      const steered = running !== undefined && (await steer(message, running.id));
      if (steered) noteSteered({ threadId, turnId: running.id, clientId: message.clientUserMessageId, text: text.trim(), images: images.length });
      else await call("turn/start", { ...message, ...choice });
      sent();
    });
    draft.value = isSent ? { ...draft.value, sending: null, tried: null } : putBack(draft.value);
  }

  function queue(): void {
    if (isEmpty || busy) return;
    focusBox();
    void attempt(() => {
      enqueue(threadId, text.trim(), images);
      draft.value = { ...NO_MESSAGE, choice };
    });
  }

  async function interrupt(): Promise<void> {
    if (!running || stopping.value === running.id) return;
    focusBox();
    stopping.value = running.id;
    if (!(await attempt(() => call("turn/interrupt", { threadId, turnId: running.id })))) stopping.value = null;
  }

  function press(event: KeyboardEvent): void {
    if (event.isComposing) return;
    if (event.key === "Escape" && isEmpty && running) {
      // Who leaves the box to answer what the turn asks does not mean to stop it.
      if (state.requests.length > 0) area.current?.blur();
      else void interrupt();
    }
    if (event.key !== "Enter" || event.shiftKey || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    if (event.altKey && running) queue();
    else void send();
  }

  return (
    <>
      {running && <SteeredMessages turn={running} />}
      <Queue threadId={threadId} />
      <form class="composer" onSubmit={(event) => (event.preventDefault(), void send())}>
        {refused && (
          <p class="error" role="alert">
            {refused}
          </p>
        )}
        <textarea
          aria-label="Message to the agent"
          dir="auto"
          ref={area}
          placeholder={placeholderOf(running)}
          rows={Math.min(10, Math.max(2, text.split("\n").length))}
          value={text}
          onInput={({ currentTarget: { value } }) => change({ text: value, refused: value && refused })}
          onKeyDown={press}
          onPaste={(event) => void paste(event)}
        />
        {images.length > 0 && (
          <ul class="pasted">
            {images.map((url, index) => (
              <li key={index}>
                <img src={url} alt={`Pasted image ${index + 1}`} />
                <button
                  type="button"
                  aria-label={`Remove image ${index + 1}`}
                  onClick={() => (focusBox(), change({ images: images.filter((_, other) => other !== index) }))}
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
              <Choices choice={choice} settings={state.settings} change={(choice) => change({ choice })} />
            </details>
          )}
          <span class="push" />
          {running && (
            <button type="button" class="danger" disabled={stopping.value === running.id} onClick={() => void interrupt()}>
              {stopping.value === running.id ? "Interrupting" : "Interrupt"}
            </button>
          )}
          {running && (
            <button type="button" disabled={busy || isEmpty} title="Send it when this turn is done (Alt+Enter)" onClick={queue}>
              Queue
            </button>
          )}
          <button class="primary" disabled={busy || isEmpty} title={running ? "Send it into this turn (Enter)" : undefined}>
            {running ? "Steer" : "Send"}
          </button>
        </div>
      </form>
    </>
  );
}

interface Message {
  threadId: string;
  input: Part[];
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

function placeholderOf(running: TurnState | undefined): string {
  if (!running) return "What shall the agent do?";
  const what = running.startedAt === null ? "Add to the turn that waits" : "Steer the turn that runs";
  return `${what}, or queue a message for the next one`;
}
