/**
 * Streams of server-sent events that are kept open: after a cut they continue behind the last event.
 *
 * Read with fetch, because EventSource shows neither the server's errors nor that a connection has gone silent.
 */
import { createParser } from "eventsource-parser";
import { isPassing, messageOf, NO_ANSWER, send, ServerError } from "./http";
import type { ThreadEvent } from "./types";

/** Return whether data of a stream are an event as far as any view may rely on it. */
export function isEvent(data: unknown): data is ThreadEvent {
  if (typeof data !== "object" || data === null) return false;
  const { method, params, id } = data as Partial<Record<"method" | "params" | "id", unknown>>;
  return typeof method === "string" && typeof params === "object" && params !== null && (id === undefined || typeof id === "number");
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const SILENCE_MS = 30_000; // the server sends something every 10 s

export interface StreamHandlers {
  /** The stream is open: what happens from now on will come. fresh: it does not continue an earlier one. */
  opened(fresh: boolean): void;
  event(event: ThreadEvent): void;
  /** The connection is lost and will be tried again; null: it is there. */
  trouble(message: string | null): void;
  /** The server refuses for good. */
  refused(error: ServerError): void;
}

/** How far a stream was read. lastId: of the last event; "": a stream with it begins now. */
export interface Position {
  lastId: string;
}

/** Follow a stream from a position until the returned function is called. options: of its requests */
export function follow(url: string, handlers: StreamHandlers, position: Position = { lastId: "" }, options: RequestInit = {}): () => void {
  const ended = new AbortController();
  void keepOpen(url, options, position, handlers, ended.signal);
  return () => ended.abort();
}

async function keepOpen(url: string, options: RequestInit, position: Position, handlers: StreamHandlers, ended: AbortSignal): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS;
  while (!ended.aborted) {
    try {
      await readOnce(url, options, position, handlers, ended, () => (pauseMs = FIRST_PAUSE_MS));
    } catch (error) {
      if (ended.aborted) return;
      if (error instanceof ServerError && !isPassing(error)) {
        handlers.refused(error);
        return;
      }
      handlers.trouble(messageOf(error));
    }
    await pause(pauseMs * (0.75 + Math.random() / 2), ended);
    pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
  }
}

async function readOnce(
  url: string,
  options: RequestInit,
  position: Position,
  handlers: StreamHandlers,
  ended: AbortSignal,
  succeeded: () => void,
): Promise<void> {
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), SILENCE_MS);
  const headers = new Headers(options.headers);
  headers.set("Accept", "text/event-stream");
  if (position.lastId) headers.set("Last-Event-ID", position.lastId);
  try {
    const response = await send(url, { ...options, headers, signal: AbortSignal.any([ended, silent.signal]) });
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new ServerError(NO_ANSWER, 0); // of a proxy
    succeeded();
    handlers.opened(!position.lastId);
    handlers.trouble(null);
    const parser = createParser({
      onEvent: (event) => {
        if (event.id) position.lastId = event.id;
        const data: unknown = JSON.parse(event.data);
        if (isEvent(data)) handlers.event(data);
      },
    });
    const decoder = new TextDecoder();
    for await (const chunk of response.body as ReadableStream<Uint8Array>) {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE_MS);
      const text = decoder.decode(chunk, { stream: true });
      // A stream begins with an id without data, which is a position too; the parser tells of events only.
      position.lastId ||= /^id: ([^\n]+)\n\n/.exec(text)?.[1] ?? "";
      parser.feed(text);
    }
  } finally {
    clearTimeout(timer);
  }
}

function pause(ms: number, ended: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    ended.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
