/** A thread that somebody reads by a share link: nothing but its turns, as they go on. */
import { useEffect, useMemo } from "preact/hooks";
import { openThread, sharedThread } from "../state/openThread";
import { ThreadView } from "./ThreadPage";
import { Toasts } from "./Toasts";

export function SharedThread({ secret }: { secret: string }) {
  const open = useMemo(() => openThread(sharedThread(secret)), [secret]);
  useEffect(() => open.close, [open]);
  const state = open.state.value;
  if (open.error.value) {
    return (
      <main class="center stack">
        <h1>Nothing to read here</h1>
        <p role="alert">{open.error.value}</p>
      </main>
    );
  }
  return (
    <div class="frame page-thread">
      <header class="top">
        <strong>Threadhouse</strong>
        <span class="small quiet">shared with you to read</span>
        <Toasts />
      </header>
      <main class="columns">
        <div class="page">
          {state === null ? <p class="center quiet">{open.trouble.value ?? "Loading…"}</p> : <ThreadView open={open} state={state} end={null} />}
        </div>
      </main>
    </div>
  );
}
