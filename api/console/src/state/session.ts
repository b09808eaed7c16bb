/** Who uses this page. */
import { signal } from "@preact/signals";
import { messageOf, onSignedOut, send } from "../protocol/http";

export interface Who {
  user: { id: string; name: string; role: string };
  /** "open": a server without users, which asks nobody to sign in. */
  mode: "open" | "session";
}

/** detail: why nobody can sign in at all. */
interface Nobody {
  user: null;
  detail: string | null;
}

/** undefined: not known yet; null: nobody is signed in. */
export const who = signal<Who | null | undefined>(undefined);
export const startError = signal<string | null>(null);

onSignedOut(() => {
  who.value = null;
});

export async function findWho(): Promise<void> {
  try {
    const found = (await (await send("/console/session")).json()) as Who | Nobody;
    who.value = found.user === null ? null : found;
    startError.value = found.user === null ? found.detail : null;
  } catch (error) {
    startError.value = messageOf(error);
  }
}

/** Exchange an API key or a token for a session. Errors: ServerError */
export async function signIn(credential: string): Promise<void> {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ credential });
  who.value = (await (await send("/console/session", { method: "POST", headers, body })).json()) as Who;
}

export async function signOut(): Promise<void> {
  await send("/console/session", { method: "DELETE" });
  who.value = null;
}
