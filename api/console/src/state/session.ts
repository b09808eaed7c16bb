/** Who uses this page. */
import { signal } from "@preact/signals";
import { messageOf, onSignedOut, send } from "../protocol/http";

export interface Who {
  user: { id: string; name: string; role: string };
  /** "open": a server without users, which asks nobody to sign in. */
  mode: "open" | "session";
}

/** detail: why nobody can sign in at all. provider: where they can sign in beside here, as people call it. */
interface Nobody {
  user: null;
  detail: string | null;
  provider?: string;
}

/** undefined: not known yet; null: nobody is signed in. */
export const who = signal<Who | null | undefined>(undefined);
export const startError = signal<string | null>(null);
export const provider = signal<string | null>(null);

onSignedOut(forget);

/** Show the sign-in page, with what it offers. */
function forget(): void {
  who.value = null;
  void findWho();
}

export async function findWho(): Promise<void> {
  try {
    const found = (await (await send("/console/session")).json()) as Who | Nobody;
    who.value = found.user === null ? null : found;
    startError.value = found.user === null ? found.detail : null;
    if (found.user === null) provider.value = found.provider ?? null;
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

/** Where the browser signs in at the provider; it comes back to the page that is open. */
export function signInPath(): string {
  return `/oidc/start?next=${encodeURIComponent(`/${location.hash}`)}`;
}

/** End the session here, and at the provider if the user has signed in there. */
export async function signOut(): Promise<void> {
  const answer = (await (await send("/console/session", { method: "DELETE" })).json()) as { continueAt?: string };
  if (answer.continueAt) location.assign(answer.continueAt);
  else forget();
}
