/** The frame of the page: navigation, the list of threads, the open page. */
import { useSignal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { forgetDrafts } from "../state/drafts";
import { isPassing, NO_ANSWER, send } from "../protocol/http";
import { followUser, inbox, offline } from "../state/inbox";
import { useKeys } from "../state/keys";
import { loadModels, loadProfiles } from "../state/models";
import { followQueues, forgetQueues } from "../state/queue";
import { go, pathOf, route } from "../state/route";
import { findWho, followSession, signOut, startError, who } from "../state/session";
import { threads } from "../state/threads";
import { attempt, finishToasts } from "../state/toasts";
import { Guard } from "./Guard";
import { Inbox } from "./Inbox";
import { KeySheet } from "./KeySheet";
import { NewThread } from "./NewThread";
import { SharedThread } from "./SharedThread";
import { SignIn } from "./SignIn";
import { ThreadList } from "./ThreadList";
import { ThreadPage } from "./ThreadPage";
import { Toasts } from "./Toasts";
import { Workspace } from "./Workspace";

const AGAIN_MS = 3000; // after which a server that did not answer is asked again

/** Pages that are loaded when they are opened. */
const LAZY = {
  admin: () => import("./Admin").then((module) => module.Admin),
  usage: () => import("./OwnUsage").then((module) => module.OwnUsage),
};

export function App() {
  const here = route.value;
  const isShared = here.page === "shared";
  useEffect(() => {
    if (isShared) return; // who reads by a link needs to be nobody
    if (who.peek() === undefined) void findWho();
    return followSession();
  }, [isShared]);
  if (isShared) return <SharedThread key={here.secret} secret={here.secret} />;
  if (startError.value) return <StartError message={startError.value} />;
  if (who.value === undefined) return <p class="center quiet">Loading…</p>;
  if (who.value === null) return <SignIn />;
  return <Console key={who.value.user.id} />;
}

function StartError({ message }: { message: string }) {
  useEffect(() => {
    const timer = setInterval(() => document.hidden || void findWho(), AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <main class="center stack">
      <h1>Threadhouse cannot be reached</h1>
      <p role="alert">{message}</p>
      <button onClick={() => void findWho()}>Try again</button>
    </main>
  );
}

function Console() {
  const sheet = useSignal(false);
  useEffect(() => followQueues(who.value!.user.id), []);
  useEffect(followUser, []);
  useEffect(() => void (loadModels(), loadProfiles()), []);
  useKeys([
    { key: "?", about: "Keys and colours", act: () => (sheet.value = true) },
    { key: "n", about: "New thread", act: () => go({ page: "new" }) },
    { key: "t", about: "Threads", act: () => go({ page: "threads" }) },
    { key: "i", about: "Inbox", act: () => go({ page: "inbox" }) },
    { key: "/", about: "Search threads", act: () => document.getElementById("search")?.focus() },
  ]);
  const waiting = inbox.value?.length ?? 0;
  useEffect(() => {
    document.title = waiting ? `(${waiting}) Threadhouse` : "Threadhouse";
    return () => (document.title = "Threadhouse");
  }, [waiting]);
  const { page } = route.value;
  return (
    <div class={`frame page-${page}`}>
      <a class="skip" href="#page" onClick={(event) => (event.preventDefault(), document.getElementById("page")?.focus())}>
        Skip to content
      </a>
      <Top waiting={waiting} showKeys={() => (sheet.value = true)} />
      {offline.value && (
        <p class="banner" role="status">
          Not connected to the server: it is tried again. {offline.value !== NO_ANSWER && offline.value}
        </p>
      )}
      <main class="columns">
        {page !== "admin" && page !== "usage" && (
          <Guard what="list of threads" of={threads.value}>
            <ThreadList />
          </Guard>
        )}
        <div id="page" class="page" tabIndex={-1}>
          <Guard what="page" of={route.value}>
            <Page />
          </Guard>
        </div>
      </main>
      {sheet.value && <KeySheet close={() => (sheet.value = false)} />}
    </div>
  );
}

function Top({ waiting, showKeys }: { waiting: number; showKeys: () => void }) {
  const { user, mode } = who.value!;
  const here = route.value.page;
  const link = (page: "threads" | "inbox" | "usage", text: string) => (
    <a href={pathOf({ page })} aria-current={here === page || (page === "threads" && here === "thread") ? "page" : undefined}>
      {text}
    </a>
  );
  return (
    <header class="top">
      <strong class="brand">Threadhouse</strong>
      <nav aria-label="Pages">
        {link("threads", "Threads")}
        <span class="nav-inbox">
          {link("inbox", "Inbox")}
          {waiting > 0 && (
            <span class="count" aria-label={`${waiting} waiting`}>
              {waiting}
            </span>
          )}
        </span>
        {link("usage", "Usage")}
        {user.role === "admin" && (
          <a href={pathOf({ page: "admin", tab: "turns", id: null })} aria-current={here === "admin" ? "page" : undefined}>
            Operate
          </a>
        )}
      </nav>
      <Toasts />
      <div class="top-end">
        {mode === "session" && (
          <span class="signed-in small quiet" title={`Signed in as ${user.name}${user.role === "admin" ? ", an admin" : ""}`}>
            {user.name}
          </span>
        )}
        <button class="plain" onClick={showKeys} aria-label="Keys and colours">
          ?
        </button>
        {mode === "session" && (
          <button class="plain" onClick={() => void leave(user.id)}>
            Sign out
          </button>
        )}
      </div>
    </header>
  );
}

/** Sign out. What was put off needs the session, and the user is told if it cannot be done. */
async function leave(userId: string): Promise<void> {
  if (!(await finishToasts())) return;
  await attempt(async () => {
    await signOut();
    forgetQueues(userId);
    forgetDrafts(userId);
  });
}

function Page() {
  const here = route.value;
  switch (here.page) {
    case "new":
      return <NewThread />;
    case "thread":
      if (here.view) return <Workspace key={here.threadId} threadId={here.threadId} view={here.view} />;
      return <ThreadPage key={here.threadId} threadId={here.threadId} />;
    case "inbox":
      return <Inbox />;
    case "admin":
      return <Lazy load={LAZY.admin} tab={here.tab} id={here.id} />;
    case "usage":
      return <Lazy key="usage" load={LAZY.usage} />;
    default:
      return <Welcome />;
  }
}

/** A page whose code is loaded when it is opened. */
function Lazy<Props extends object>({ load, ...props }: { load: () => Promise<ComponentType<Props>> } & Props) {
  const loaded = useSignal<{ Page: ComponentType<Props> } | null>(null);
  const error = useSignal<string | null>(null);
  useEffect(() => {
    let timer: number | undefined = 0; // undefined: the page was left
    const open = async () => {
      try {
        loaded.value = { Page: await load() };
      } catch {
        const answers = await send("/console/session").then(() => true, (problem) => !isPassing(problem));
        error.value = answers ? "The server may have been upgraded: reload the page." : "The server does not answer, and is asked again.";
        if (!answers && timer !== undefined) timer = window.setTimeout(() => void open(), AGAIN_MS);
      }
    };
    void open();
    return () => (clearTimeout(timer), (timer = undefined));
  }, []);
  if (!loaded.value && error.value) {
    return (
      <p class="error center" role="status">
        This page cannot be loaded. {error.value}
      </p>
    );
  }
  if (!loaded.value) return <p class="center quiet">Loading…</p>;
  const { Page } = loaded.value;
  return <Page {...(props as unknown as Props)} />;
}

function Welcome() {
  return (
    <section class="center stack">
      <h2>Pick a thread, or begin one</h2>
      <p class="quiet">
        A thread is a conversation with an agent that works in a folder on the server. It goes on when you close this page, and any client of the
        protocol can open it.
      </p>
      <p>
        <a class="button primary" href={pathOf({ page: "new" })}>
          New thread
        </a>
      </p>
    </section>
  );
}
