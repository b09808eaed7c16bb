/** The server's methods over HTTP. The browser adds the session's cookie; this page knows no credential. */
import { noteServerTime } from "./clock";
import type { Methods } from "./types";

/**
 * What the server has refused, or that it does not answer. message: for people, and says what to do.
 * isOwn: the answer is this server's, and not that of something on the way to it, which knows no thread
 */
export class ServerError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly retryAfterMs?: number,
    readonly isOwn = true,
  ) {
    super(message);
  }
}

export const NO_ANSWER = "The server does not answer. Check that it runs and that you are online; then try again.";

let signedOut: () => void = () => {};

/** Call a function whenever the server no longer knows who we are. */
export function onSignedOut(call: () => void): void {
  signedOut = call;
}

let users = 0; // counts those who have left

/** Leave all requests that are on their way without an answer: who asked is gone. */
export function dropAnswers(): void {
  users += 1;
}

/** Send a request. Errors: ServerError, also when there is no answer. It never ends when its user is gone meanwhile. */
export async function send(path: string, options: RequestInit = {}): Promise<Response> {
  const user = users;
  try {
    return await ask(path, options);
  } catch (error) {
    if (user === users && path !== "/console/session" && error instanceof ServerError && error.status === 401) signedOut();
    throw error;
  } finally {
    if (user !== users) await new Promise<never>(() => {});
  }
}

async function ask(path: string, options: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", redirect: "error", cache: "no-store", ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ServerError(NO_ANSWER, 0);
  }
  noteServerTime(response.headers.get("Date"));
  if (response.ok) return response;
  const problem = (await response.json().catch(() => null)) ?? {};
  const detail = typeof problem.detail === "string" ? problem.detail : `The server answered ${response.status}. Try again.`;
  throw new ServerError(detail, response.status, problem.retryAfterMs, typeof problem.code === "number");
}

/** Return the JSON of an answer. Errors: ServerError, when it breaks off on the way or is something else */
export async function jsonOf(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ServerError(NO_ANSWER, 0);
  }
}

/** Call a method of the protocol. Errors: ServerError */
export async function call<Name extends keyof Methods>(
  method: Name,
  params: Methods[Name]["params"],
  options: RequestInit = {},
): Promise<Methods[Name]["result"]> {
  const headers = { "Content-Type": "application/json" };
  const response = await send(`/v2/${method}`, { method: "POST", headers, body: JSON.stringify(params), ...options });
  return (await jsonOf(response)) as Methods[Name]["result"];
}

/** Answer a server request. Errors: ServerError, with status 409 when somebody has answered already. */
export async function respond(requestId: number, result: object): Promise<void> {
  const body = { requestId, result } as Methods["serverRequest/respond"]["params"];
  await call("serverRequest/respond", body);
}

/** Return whether trying again later may help. */
export function isPassing(error: unknown): boolean {
  return error instanceof ServerError && (!error.isOwn || error.status < 400 || error.status === 408 || error.status === 429 || error.status >= 500);
}

/** Return whether a request may have had its effect all the same: its answer is lost, or says nothing of it. */
export function mayHaveArrived(error: unknown): boolean {
  return error instanceof ServerError && (error.status === 0 || error.status >= 500);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
