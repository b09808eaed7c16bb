/** The list beside the page: search, status, and what can be done with a thread. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Thread } from "../protocol/types";
import { go, pathOf, route } from "../state/route";
import {
  deleteSoon,
  followSearch,
  fork,
  listError,
  loadThreads,
  nextPage,
  rename,
  searchTerm,
  setArchived,
  showArchived,
  threads,
  titleOf,
} from "../state/threads";
import { ago } from "./format";
import { Guard } from "./Guard";
import { Status } from "./Status";

export function ThreadList() {
  useEffect(followSearch, []);
  const list = threads.value;
  return (
    <section class="threads" aria-label="Threads">
      {route.value.page === "threads" && <h1 class="unseen">Threads</h1>}
      <div class="threads-head">
        <a class="button primary" href={pathOf({ page: "new" })}>
          New thread
        </a>
        <input
          id="search"
          type="search"
          placeholder="Search threads"
          aria-label="Search threads"
          value={searchTerm.value}
          onInput={(event) => (searchTerm.value = event.currentTarget.value)}
        />
        <label class="row small">
          <input type="checkbox" checked={showArchived.value} onChange={(event) => (showArchived.value = event.currentTarget.checked)} />
          Archived
        </label>
      </div>
      {listError.value && (
        <p class="error" role="alert">
          {listError.value} <button onClick={() => void loadThreads()}>Try again</button>
        </p>
      )}
      {list === null && !listError.value && <p class="quiet">Loading…</p>}
      {list?.length === 0 && <Empty />}
      <ul class="thread-rows">
        {list?.map((thread) => (
          <Guard key={thread.id} what="thread" of={thread}>
            <Row thread={thread} />
          </Guard>
        ))}
      </ul>
      {nextPage.value && <button onClick={() => void loadThreads(true)}>More</button>}
    </section>
  );
}

function Empty() {
  if (searchTerm.value) {
    return <p class="quiet">No thread has “{searchTerm.value}” in its name or first message. Upper and lower case count.</p>;
  }
  if (showArchived.value) return <p class="quiet">Nothing is archived. An archived thread keeps all it has and leaves the list.</p>;
  return <p class="quiet">No threads yet. Begin one above, or with any client: codex, an SDK or curl. It appears here at once.</p>;
}

function Row({ thread }: { thread: Thread }) {
  const renaming = useSignal(false);
  const here = route.value;
  const isOpen = here.page === "thread" && here.threadId === thread.id;
  const leave = () => isOpen && go({ page: "threads" });
  if (renaming.value) return <Rename thread={thread} close={() => (renaming.value = false)} />;
  return (
    <li class={isOpen ? "thread-row open" : "thread-row"}>
      <a href={pathOf({ page: "thread", threadId: thread.id })} aria-current={isOpen ? "page" : undefined}>
        <span class="thread-title">{titleOf(thread)}</span>
        <span class="thread-facts">
          <Status status={thread.status} />
          <span class="quiet small">{ago(thread.recencyAt)}</span>
        </span>
      </a>
      <details class="menu" name="thread-menu" onKeyDown={(event) => event.key === "Escape" && closeMenu(event.target)}>
        <summary aria-label={`Actions for ${titleOf(thread)}`}>⋯</summary>
        <div class="card" onClick={(event) => closeMenu(event.target)}>
          <button onClick={() => (renaming.value = true)}>Rename</button>
          {!showArchived.value && (
            <button onClick={() => void fork(thread.id).then((copy) => copy && go({ page: "thread", threadId: copy.id }))}>Fork</button>
          )}
          <button onClick={() => void setArchived(thread.id, !showArchived.value).then((done) => done && leave())}>
            {showArchived.value ? "Unarchive" : "Archive"}
          </button>
          <button class="danger" onClick={() => (deleteSoon(thread), leave())}>
            Delete
          </button>
        </div>
      </details>
    </li>
  );
}

/** Close the menu that an element is in, as after a choice. */
function closeMenu(inside: EventTarget | null): void {
  const menu = inside instanceof Element ? inside.closest("details") : null;
  if (!menu?.open) return;
  menu.open = false;
  menu.querySelector("summary")?.focus();
}

function Rename({ thread, close }: { thread: Thread; close: () => void }) {
  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const name = String(new FormData(event.currentTarget as HTMLFormElement).get("name") ?? "").trim();
    if (name && name !== thread.name) await rename(thread.id, name);
    close();
  }
  return (
    <li class="thread-row">
      <form class="row rename" onSubmit={(event) => void submit(event)}>
        <input
          name="name"
          aria-label="Name of the thread"
          defaultValue={thread.name ?? titleOf(thread)}
          maxLength={200}
          ref={(input) => input?.focus()}
          onKeyDown={(event) => event.key === "Escape" && close()}
        />
        <button class="primary">Save</button>
      </form>
    </li>
  );
}
