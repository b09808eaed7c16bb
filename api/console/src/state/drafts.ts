/** What a user has typed and not sent. It survives another page and a reload, in this tab alone, and for this user alone. */
import { effect, type Signal, signal } from "@preact/signals";
import type { Choice } from "../views/Choices";
import { newId } from "./message";
import { who } from "./session";
import { onUserGone } from "./user";

const PREFIX = "draft:";

const drafts = new Map<string, Signal<unknown>>();
onUserGone(() => drafts.clear()); // the session's storage keeps them until the same user is back

/** Return the draft with a name. empty: what it is before something is typed. read: what becomes of it after a reload */
export function draftOf<Value>(name: string, empty: Value, read = (stored: Value) => stored): Signal<Value> {
  const key = `${PREFIX}${who.peek()?.user.id}:${name}`;
  const known = drafts.get(key) as Signal<Value> | undefined;
  if (known) return known;
  const draft = signal(load(key, empty, read));
  effect(() => store(key, draft.value, empty));
  drafts.set(key, draft as Signal<unknown>);
  return draft;
}

/** Remove all drafts of a user: for when they sign out, and leave nothing behind. */
export function forgetDrafts(user: string): void {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(`${PREFIX}${user}:`)) sessionStorage.removeItem(key);
  } catch {
    // Without storage there are none.
  }
}

function load<Value>(key: string, empty: Value, read: (stored: Value) => Value): Value {
  try {
    const stored = sessionStorage.getItem(key);
    return stored === null ? empty : read(JSON.parse(stored) as Value);
  } catch {
    return empty;
  }
}

function store(key: string, value: unknown, empty: unknown): void {
  const withoutImages = JSON.stringify(value, (name, member: unknown) => (name === "images" ? [] : member)); // they may be too large
  try {
    sessionStorage.removeItem(key);
    for (const text of [JSON.stringify(value), withoutImages]) {
      if (text === JSON.stringify(empty)) return;
      try {
        return sessionStorage.setItem(key, text);
      } catch {
        // Without room for it a reload loses the draft.
      }
    }
  } catch {
    // So it does without storage.
  }
}

// -- the message of a thread

interface Writing {
  text: string;
  images: readonly string[];
  choice: Choice;
}

export interface MessageDraft extends Writing {
  /** What has left the box, and may not have arrived. */
  sending: Writing | null;
  /** Why the server has refused it; "" or null: it has not. */
  refused: string | null;
  /** What was sent last without an answer. Sent again under the same id, it arrives once. */
  tried: { content: string; id: string } | null;
}

export const NO_MESSAGE: MessageDraft = { text: "", images: [], choice: {}, sending: null, refused: null, tried: null };

export function messageDraft(threadId: string): Signal<MessageDraft> {
  return draftOf(threadId, NO_MESSAGE, putBack);
}

/** Take a message out of the box. What is typed from now on is the next one. */
export function takeOut({ text, images, choice, tried }: MessageDraft): MessageDraft & { tried: { id: string } } {
  const content = contentOf({ text, images });
  return { ...NO_MESSAGE, sending: { text, images, choice }, tried: tried?.content === content ? tried : { content, id: newId() } };
}

/** Return what tells a message from another one, short enough to be kept. */
export function contentOf({ text, images }: Pick<Writing, "text" | "images">): string {
  return JSON.stringify([text.trim(), images.map((url) => `${url.length} ${url.slice(-40)}`)]);
}

/** Put a message that was not sent back into the box, before what was typed meanwhile. */
export function putBack(draft: MessageDraft): MessageDraft {
  const { sending } = draft;
  if (sending === null) return draft;
  return {
    ...draft,
    text: [sending.text, draft.text].filter(Boolean).join("\n"),
    images: [...sending.images, ...draft.images],
    choice: { ...sending.choice, ...draft.choice },
    sending: null,
  };
}
