/** The links to a thread: make one, see those that are open, revoke them. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { call, messageOf } from "../protocol/http";
import type { ShareLink } from "../protocol/types";
import { moment, since } from "./format";

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
const TIMES = [
  [HOUR_S, "1 hour"],
  [0, "As the server sets it: 7 days, or less"],
  [DAY_S, "1 day"],
  [7 * DAY_S, "7 days"],
  [30 * DAY_S, "30 days"],
  [90 * DAY_S, "90 days"],
] as const;

export function Share({ threadId, close }: { threadId: string; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const links = useSignal<readonly ShareLink[] | null>(null);
  const error = useSignal<string | null>(null);
  const seconds = useSignal(0);
  const made = useSignal<string | null>(null);
  const busy = useSignal(false);

  async function attempt(act: () => Promise<unknown>): Promise<void> {
    busy.value = true;
    error.value = null;
    try {
      await act();
      links.value = (await call("thread/share/list", { threadId })).data;
    } catch (problem) {
      error.value = messageOf(problem);
    } finally {
      busy.value = false;
    }
  }

  useEffect(() => {
    dialog.current?.showModal();
    void attempt(async () => {});
  }, []);

  const make = () =>
    attempt(async () => {
      const { path } = await call("thread/share/create", { threadId, ...(seconds.value > 0 && { expiresInSeconds: seconds.value }) });
      made.value = location.origin + path;
    });
  const revoke = (link: ShareLink) =>
    attempt(async () => {
      await call("thread/share/revoke", { shareId: link.id });
      made.value = null;
    });

  return (
    <dialog ref={dialog} class="card stack share" onClose={close} aria-labelledby="share-title">
      <h2 id="share-title">Share this thread</h2>
      <p class="small">
        Whoever has a link reads this thread without an account, as it goes on: messages, commands with their output, changes. Nobody can write, answer or
        open other files by it. Look through the thread for secrets first.
      </p>
      <div class="row wrap">
        <label class="row">
          Open for
          <select value={seconds.value} onChange={(event) => (seconds.value = Number(event.currentTarget.value))}>
            {TIMES.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <button class="primary" disabled={busy.value} onClick={() => void make()}>
          Make a link
        </button>
      </div>
      {error.value && (
        <p class="error" role="alert">
          {error.value}
        </p>
      )}
      {made.value && <Made url={made.value} />}
      <h3 class="small">Open links</h3>
      {links.value?.length === 0 && <p class="quiet small">None.</p>}
      <ul class="share-links">
        {links.value?.map((link) => (
          <li key={link.id} class="row wrap small">
            <span class="grow">
              made {since(link.createdAt * 1000)}, until {moment(link.expiresAt * 1000)}
            </span>
            <button class="danger" disabled={busy.value} onClick={() => void revoke(link)}>
              Revoke
            </button>
          </li>
        ))}
      </ul>
      <form method="dialog">
        <button>Close</button>
      </form>
    </dialog>
  );
}

function Made({ url }: { url: string }) {
  const copied = useSignal<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.select(), [url]);
  const copy = async () => {
    field.current?.select();
    try {
      await navigator.clipboard.writeText(url);
      copied.value = "Copied.";
    } catch {
      copied.value = "Press Ctrl+C to copy it."; // without https the browser gives pages no clipboard
    }
  };
  return (
    <div class="stack" role="status">
      <label class="row">
        <span class="nowrap">The link</span>
        <input class="grow" ref={field} readOnly value={url} />
        <button onClick={() => void copy()}>Copy</button>
      </label>
      <p class="small quiet">{copied.value ?? "It is shown this once. If it is lost, revoke it and make another."}</p>
    </div>
  );
}
