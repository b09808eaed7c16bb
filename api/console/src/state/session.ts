/** Who uses this page. */
import { batch, signal } from "@preact/signals";
import { jsonOf, messageOf, onSignedOut, send } from "../protocol/http";
import { forgetUser } from "./user";

export interface Who {
  user: { id: string; name: string; role: string };
  /** "open": a server without users, which asks nobody to sign in. */
  mode: "open" | "session";
  /** Whether a thread can start from a git repository. */
  git: boolean;
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
/** Whether the last session has ended without a sign-out here. */
export const hasEnded = signal(false);

const CHANNEL = "session";

let isLeaving = false;

// At a sign-out, requests on their way may be refused before its answer is here.
onSignedOut(() => isLeaving || forget());

/** Show the sign-in page, with what it offers. */
function forget(): void {
  if (who.peek() === null) return;
  become(null);
  void findWho();
}

function become(next: Who | null | undefined): void {
  const before = who.peek();
  batch(() => {
    if (before && before.user.id !== next?.user.id) forgetUser();
    if (before || next) hasEnded.value = next === null && !isLeaving;
    who.value = next;
  });
}

export async function findWho(): Promise<void> {
  try {
    const found = (await jsonOf(await send("/console/session"))) as Who | Nobody;
    become(found.user === null ? null : found);
    startError.value = found.user === null ? found.detail : null;
    if (found.user === null) provider.value = found.provider ?? null;
  } catch (error) {
    if (!who.peek()) startError.value = messageOf(error);
  }
}

/**
 * Ask again who uses this page whenever it becomes visible, and when another window signs in or out, until the returned
 * function is called: all windows of a browser have the same session.
 */
export function followSession(): () => void {
  const turn = () => !document.hidden && who.peek() !== undefined && void findWho();
  const windows = new BroadcastChannel(CHANNEL);
  windows.onmessage = () => who.peek() !== undefined && void findWho();
  document.addEventListener("visibilitychange", turn);
  return () => {
    document.removeEventListener("visibilitychange", turn);
    windows.close();
  };
}

function tellWindows(): void {
  const windows = new BroadcastChannel(CHANNEL);
  windows.postMessage("changed");
  windows.close();
}

/** Exchange an API key or a token for a session. Errors: ServerError */
export async function signIn(credential: string): Promise<void> {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ credential });
  become((await jsonOf(await send("/console/session", { method: "POST", headers, body }))) as Who);
  tellWindows();
}

/** Where the browser signs in at the provider; it comes back to the page that is open. */
export function signInPath(): string {
  return `/oidc/start?next=${encodeURIComponent(`/${location.hash}`)}`;
}

/** End the session here, and at the provider if the user has signed in there. */
export async function signOut(): Promise<void> {
  isLeaving = true;
  try {
    const answer = (await jsonOf(await send("/console/session", { method: "DELETE" }))) as { continueAt?: string };
    tellWindows();
    if (!answer.continueAt) return forget();
    become(undefined);
    location.assign(answer.continueAt);
  } finally {
    isLeaving = false;
  }
}
