/** The list beside the page: search, status, and what can be done with a thread. */
import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
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
import { since } from "./format";
import { Guard } from "./Guard";
import { Status } from "./Status";

export function ThreadList() {
  useEffect(followSearch, []);
  useEffect(closeMenus, []);
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
          dir="auto"
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
  const row = useRowFocus(renaming.value);
  const here = route.value;
  const isOpen = here.page === "thread" && here.threadId === thread.id;
  const leave = () => isOpen && go({ page: "threads" });
  if (renaming.value) return <Rename thread={thread} close={() => (renaming.value = false)} />;
  return (
    <li ref={row} class={isOpen ? "thread-row open" : "thread-row"}>
      <a href={pathOf({ page: "thread", threadId: thread.id })} aria-current={isOpen ? "page" : undefined}>
        <span class="thread-title" dir="auto">{titleOf(thread)}</span>
        <span class="thread-facts">
          <Status status={thread.status} />
          <span class="quiet small nowrap">{thread.recencyAt !== null && since(thread.recencyAt * 1000)}</span>
        </span>
      </a>
      <details class="menu" name="thread-menu">
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

/** Keep the focus near a row: at its link when its form has closed, at the next row when it leaves the list. */
function useRowFocus(isForm: boolean): RefObject<HTMLLIElement | null> {
  const row = useRef<HTMLLIElement>(null);
  const wasForm = useRef(false);
  const focusLink = (of: Element | null | undefined) => of?.querySelector("a")?.focus();
  useLayoutEffect(() => {
    if (wasForm.current && document.activeElement === document.body) focusLink(row.current);
    wasForm.current = isForm;
  }, [isForm]);
  useLayoutEffect(
    () => () => {
      if (row.current?.contains(document.activeElement)) focusLink(row.current.nextElementSibling ?? row.current.previousElementSibling);
    },
    [],
  );
  return row;
}

/** Close the open menu with Escape, and when the user turns to something else. Returns what ends that. */
function closeMenus(): () => void {
  const openMenu = () => document.querySelector<HTMLDetailsElement>(".menu[open]");
  const press = (event: KeyboardEvent) => event.key === "Escape" && closeMenu(openMenu());
  const turn = ({ target }: Event) => {
    const menu = openMenu();
    if (menu && !menu.contains(target as Node)) menu.open = false;
  };
  const ended = new AbortController();
  document.addEventListener("keydown", press, ended);
  document.addEventListener("pointerdown", turn, ended);
  document.addEventListener("focusin", turn, ended);
  return () => ended.abort();
}

/** Close the menu that an element is in, as after a choice. */
function closeMenu(inside: EventTarget | null): void {
  const menu = inside instanceof Element ? inside.closest("details") : null;
  if (!menu?.open) return;
  menu.open = false;
  menu.querySelector("summary")?.focus();
}

function focus(input: HTMLInputElement | null): void {
  input?.focus();
}

function Rename({ thread, close }: { thread: Thread; close: () => void }) {
  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const name = String(new FormData(event.currentTarget as HTMLFormElement).get("name") ?? "").trim();
    if (!name || name === thread.name || (await rename(thread.id, name))) close();
  }
  /** Close a form that the user has turned away from, unless something is typed in it or another window has the focus. */
  function leave({ currentTarget }: FocusEvent): void {
    const form = currentTarget as HTMLFormElement;
    const input = form.elements.namedItem("name") as HTMLInputElement;
    // Only afterwards has what is next the focus, and keeps it as the form goes.
    setTimeout(() => document.hasFocus() && !form.contains(document.activeElement) && input.value === input.defaultValue && close());
  }
  return (
    <li class="thread-row">
      <form class="row rename" onSubmit={(event) => void submit(event)} onFocusOut={leave}>
        <input
          name="name"
          aria-label="Name of the thread"
          dir="auto"
          defaultValue={thread.name ?? titleOf(thread)}
          maxLength={200}
          ref={focus}
          onKeyDown={(event) => event.key === "Escape" && close()}
        />
        <button class="primary">Save</button>
      </form>
    </li>
  );
}
