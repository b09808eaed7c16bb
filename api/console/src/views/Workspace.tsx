/** What a thread has done to its workspace: the changes since the start, and the files as they are now. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, messageOf } from "../protocol/http";
import type { Thread } from "../protocol/types";
import { pathOf, type ThreadView } from "../state/route";
import { titleOf } from "../state/threads";
import { downloadUrl, type Entry, type Found, readChanges, readFile, readFolder, save } from "../state/workspace";
import { FileDiff } from "./Diff";
import { MOST_LINES } from "./diff";
import type { PatchFile } from "./patch";

const MOST_OPEN = 10; // files

export function Workspace({ threadId, view }: { threadId: string; view: ThreadView }) {
  const thread = useLoaded(() => call("thread/read", { threadId }).then((found) => found.thread));
  const tab = (to: ThreadView, text: string) => (
    <a href={pathOf({ page: "thread", threadId, view: to })} aria-current={view === to ? "page" : undefined}>
      {text}
    </a>
  );
  return (
    <section class="workspace stack" aria-label="Workspace">
      <header class="stack">
        <p>
          <a href={pathOf({ page: "thread", threadId })}>← {thread.value.found ? titleOf(thread.value.found).slice(0, 80) : "The thread"}</a>
        </p>
        <h1>Workspace</h1>
        <nav class="tabs" aria-label="Of the workspace">
          {tab("changes", "Changes")}
          {tab("files", "Files")}
        </nav>
        <p class="row wrap small">
          Download
          <a href={downloadUrl(threadId, "diff")} download="workspace.diff">
            the changes (patch)
          </a>
          <a href={downloadUrl(threadId, "bundle")} download="workspace.bundle">
            as commits (git bundle)
          </a>
          <a href={downloadUrl(threadId, "tar")} download="workspace.tar">
            all files (tar)
          </a>
        </p>
      </header>
      <Trouble of={thread} />
      {thread.value.found && (view === "changes" ? <Changes threadId={threadId} /> : <Files thread={thread.value.found} />)}
    </section>
  );
}

interface Loaded<Type> {
  found: Type | undefined;
  error: string | null;
  again: () => void;
}

/** Load something once, and again when asked. */
function useLoaded<Type>(load: () => Promise<Type>): Signal<Loaded<Type>> {
  const loaded = useSignal<Loaded<Type>>({ found: undefined, error: null, again: () => void ask() });
  async function ask(): Promise<void> {
    const again = () => void ask();
    try {
      loaded.value = { found: await load(), error: null, again };
    } catch (error) {
      loaded.value = { found: undefined, error: messageOf(error), again };
    }
  }
  useEffect(() => void ask(), []);
  return loaded;
}

function Trouble({ of }: { of: Signal<Loaded<unknown>> }) {
  const { found, error, again } = of.value;
  if (error) {
    return (
      <p class="error" role="alert">
        {error} <button onClick={again}>Try again</button>
      </p>
    );
  }
  return found === undefined ? <p class="quiet">Loading…</p> : null;
}

function Changes({ threadId }: { threadId: string }) {
  const changes = useLoaded(() => readChanges(threadId));
  const { found } = changes.value;
  if (found === undefined) return <Trouble of={changes} />;
  if (found === null) return <p class="quiet">The changes are too large for this page. Download the patch.</p>;
  if (found.length === 0) return <p class="quiet">Nothing has changed since the start.</p>;
  const open = openAtFirst(found);
  return (
    <div class="changes">
      <p class="small quiet">
        {found.length === 1 ? "1 file has" : `${found.length} files have`} changed since the start.
      </p>
      {found.map((file, index) => (
        <FileDiff key={file.path} path={file.from ?? file.path} to={file.from && file.path} kind={file.kind} lines={file.lines} open={index < open} note={noteOf(file)} />
      ))}
    </div>
  );
}

/** Return how many files are open at first: of a few files those whose lines are not too many to draw at once. */
export function openAtFirst(files: readonly PatchFile[]): number {
  if (files.length > MOST_OPEN) return 0;
  let lines = 0;
  const end = files.findIndex((file) => (lines += Math.min(file.lines.length, MOST_LINES)) > MOST_LINES);
  return end < 0 ? files.length : end;
}

function noteOf(file: PatchFile): string | undefined {
  if (file.isBinary) return "Binary data, which is not shown.";
  if (file.isLink) return "A symbolic link.";
  if (file.lines.length === 0) return file.kind === "update" ? "Moved, or other permissions." : "An empty file.";
  return undefined;
}

function Files({ thread }: { thread: Thread }) {
  const chosen = useSignal<string | null>(null);
  return (
    <div class="files">
      <div class="tree card" role="group" aria-label="Files">
        <Folder path={thread.cwd} chosen={chosen} isRoot />
      </div>
      <div class="file">
        {chosen.value === null ? <p class="quiet">Choose a file.</p> : <File key={chosen.value} path={chosen.value} shown={chosen.value.slice(thread.cwd.length + 1)} />}
      </div>
    </div>
  );
}

function Folder({ path, chosen, isRoot = false }: { path: string; chosen: Signal<string | null>; isRoot?: boolean }) {
  const entries = useLoaded(() => readFolder(path, isRoot));
  const { found } = entries.value;
  if (found === undefined) return <Trouble of={entries} />;
  if (found === null) return <p class="small quiet">A symbolic link. It is not followed here.</p>;
  if (found.length === 0) return <p class="small quiet">Empty.</p>;
  return (
    <ul>
      {found.map((entry) => (
        <li key={entry.fileName}>
          <EntryView entry={entry} path={`${path}/${entry.fileName}`} chosen={chosen} />
        </li>
      ))}
    </ul>
  );
}

function EntryView({ entry, path, chosen }: { entry: Entry; path: string; chosen: Signal<string | null> }) {
  const isOpen = useSignal(false);
  if (!entry.isDirectory) {
    return (
      <button class="plain entry" aria-current={chosen.value === path ? "true" : undefined} onClick={() => (chosen.value = path)}>
        <code>{entry.fileName}</code>
      </button>
    );
  }
  return (
    <details onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary>
        <code>{entry.fileName}/</code>
      </summary>
      {isOpen.value && <Folder path={path} chosen={chosen} />}
    </details>
  );
}

function File({ path, shown }: { path: string; shown: string }) {
  const file = useLoaded<Found>(() => readFile(path));
  const { found } = file.value;
  return (
    <>
      <div class="row wrap">
        <h2 class="path grow">
          <code>{shown}</code>
        </h2>
        {found?.bytes && <button onClick={() => save(found.bytes!, shown.split("/").at(-1) ?? "file")}>Download</button>}
      </div>
      <Trouble of={file} />
      {found?.note && <p class="quiet">{found.note}</p>}
      {found?.text && (
        <pre class="code" tabIndex={0} aria-label={`Content of ${shown}`}>
          {found.text}
        </pre>
      )}
    </>
  );
}
