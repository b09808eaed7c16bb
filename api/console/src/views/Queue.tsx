/** The messages that wait for the end of a thread's turn, above the place where one writes. */
import type { RefObject } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { messageOf } from "../protocol/http";
import { draftOf } from "../state/drafts";
import { advance, change, editing, held, onTheWay, type QueuedMessage, queues, remove } from "../state/queue";
import { say } from "../state/toasts";
import { focusPage } from "./focus";

export function Queue({ threadId }: { threadId: string }) {
  const messages = queues.value.get(threadId) ?? [];
  const why = held.value.get(threadId);
  const edited = editing.value?.threadId === threadId ? editing.value : null;
  const isGone = edited !== null && !messages.some(({ key }) => key === edited.key); // another window has sent or removed it
  if (messages.length === 0 && !isGone) return null;
  return (
    <section class="queue stack" aria-label="Queued messages">
      <p class="small quiet">Queued: sent when the turn is done, in order, while a window of this page is open.</p>
      <ol>
        {messages.map((message) => (
          <li key={message.key}>{message.key === edited?.key ? <Editor message={edited} /> : <Message message={message} />}</li>
        ))}
        {isGone && (
          <li key={edited.key}>
            <Editor message={edited} />
          </li>
        )}
      </ol>
      {why && messages[0] && (
        <p class="row wrap" role="status">
          <span class="small">
            {why} {messages.length === 1 ? "The message waits." : "The messages wait."}
          </span>
          <button type="button" disabled={onTheWay.value.has(messages[0].key)} onClick={() => (focusPage(), advance(threadId, true))}>
            Send now
          </button>
        </p>
      )}
    </section>
  );
}

/** Return the ref of a part that passes the focus on to where one writes when it goes, so that no key that is typed next acts. */
function usePassedFocus(): RefObject<HTMLDivElement | null> {
  const part = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => () => void (part.current?.contains(document.activeElement) && focusPage()), []);
  return part;
}

function Message({ message }: { message: QueuedMessage }) {
  const { key, text, images } = message;
  const isSent = onTheWay.value.has(key);
  const part = usePassedFocus();
  return (
    <div class="row queued" ref={part}>
      <span class="queued-text">
        {text}
        {images.length > 0 && <span class="quiet small"> {images.length === 1 ? "1 image" : `${images.length} images`}</span>}
      </span>
      <button type="button" class="plain" disabled={isSent || editing.value?.threadId === message.threadId} onClick={() => edit(message)}>
        Edit
      </button>
      <button type="button" class="plain" disabled={isSent} onClick={() => remove(message)}>
        Remove
      </button>
    </div>
  );
}

/** Edit a message. The one of another thread whose edit is open there can be sent again. */
function edit(message: QueuedMessage): void {
  const before = editing.value;
  editing.value = message;
  if (before) advance(before.threadId);
}

function Editor({ message }: { message: QueuedMessage }) {
  const draft = useMemo(() => draftOf<string | null>(`edit ${message.key}`, null), [message.key]);
  const text = draft.value ?? message.text;
  const field = useRef<HTMLTextAreaElement>(null);
  const part = usePassedFocus();
  const close = () => {
    editing.value = null;
    draft.value = null;
    advance(message.threadId); // the turn may have ended meanwhile
  };
  useLayoutEffect(() => field.current?.focus(), []); // before the next key
  function save(): void {
    try {
      if (text.trim() || message.images.length > 0) change(message, text.trim());
      else remove(message);
      close();
    } catch (error) {
      say(messageOf(error), "error");
    }
  }
  return (
    <div class="stack" ref={part}>
      <textarea
        aria-label="Queued message"
        dir="auto"
        rows={Math.min(10, Math.max(2, text.split("\n").length))}
        value={text}
        ref={field}
        onInput={(event) => (draft.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.isComposing) return;
          if (event.key === "Escape") close();
          if (event.key === "Enter" && !event.shiftKey && !matchMedia("(pointer: coarse)").matches) (event.preventDefault(), save());
        }}
      />
      <div class="row">
        <button type="button" class="primary" onClick={save}>
          Save
        </button>
        <button type="button" onClick={close}>
          Cancel
        </button>
      </div>
    </div>
  );
}
