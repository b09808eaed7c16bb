/** Begin a thread: the first message, and where the agent works. */
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { call, jsonOf, mayHaveArrived, messageOf, send } from "../protocol/http";
import { draftOf, messageDraft, NO_MESSAGE, takeOut } from "../state/drafts";
import { go, route } from "../state/route";
import { who } from "../state/session";
import { say } from "../state/toasts";
import { ofUser } from "../state/user";
import { type Choice, Choices } from "./Choices";
import { useFirstFocus } from "./focus";
import { forgetKept, useKept } from "./kept";

type Place = "empty" | "git" | "archive" | "folder";

const NAME = "new";

/** A thread is being begun: by this page, or by one that was left meanwhile. */
const busy = ofUser(false);

export function NewThread() {
  const place = useMemo(() => draftOf<Place>(`${NAME} place`, "empty"), []);
  const choice = useMemo(() => draftOf<Choice>(`${NAME} choice`, {}), []);
  const kept = useKept(NAME);
  const error = useSignal<string | null>(null);
  const first = useFirstFocus<HTMLTextAreaElement>();
  const isOpen = who.value?.mode === "open";

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (busy.value) return;
    const fields = new FormData(event.currentTarget as HTMLFormElement);
    const field = (name: string) => String(fields.get(name) ?? "").trim();
    const text = field("text");
    if (!text) {
      error.value = "Write what the agent shall do.";
      return;
    }
    busy.value = true;
    error.value = null;
    const { effort, ...settings } = choice.value;
    try {
      const where = place.value === "archive" ? await archiveParams(fields.get("archive")) : placeParams(place.value, field);
      const { thread } = await call("thread/start", { ...settings, ...where });
      const { tried } = takeOut({ ...NO_MESSAGE, text });
      const input = [{ type: "text" as const, text }];
      await call("turn/start", { threadId: thread.id, input, clientUserMessageId: tried.id, ...(effort && { effort }) }).catch((problem) => {
        const why = mayHaveArrived(problem) ? "nobody knows whether it has the message, which you may send again" : "the message was not sent";
        messageDraft(thread.id).value = { ...NO_MESSAGE, text, choice: effort ? { effort } : {}, refused: `The thread is there, but ${why}: ${messageOf(problem)}`, tried };
      });
      forgetKept(NAME);
      place.value = "empty";
      choice.value = {};
      // Who has gone elsewhere meanwhile stays there, and what they type does.
      if (route.value.page === "new") go({ page: "thread", threadId: thread.id });
      else say("The new thread has begun: it is in the list.");
    } catch (problem) {
      error.value = messageOf(problem);
      if (route.value.page !== "new") say(`The new thread has not begun: ${messageOf(problem)}`, "error");
    } finally {
      busy.value = false;
    }
  }

  return (
    <form {...kept} class="new-thread stack" onSubmit={(event) => void submit(event)}>
      <h1>New thread</h1>
      <label for="first">What shall the agent do?</label>
      <textarea
        id="first"
        name="text"
        dir="auto"
        rows={5}
        ref={first}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) event.currentTarget.form?.requestSubmit();
        }}
      />
      <fieldset class="stack">
        <legend>Where it works</legend>
        <Radio place={place} value="empty" text="An empty folder of its own, on the server" />
        {who.value?.git && <Radio place={place} value="git" text="A copy of a git repository" />}
        <Radio place={place} value="archive" text="The files of an archive (zip, tar or tar.gz)" />
        {isOpen && <Radio place={place} value="folder" text="A folder on the server's machine" />}
        {place.value === "git" && (
          <div class="fields">
            <label>
              Address <input name="gitUrl" type="url" placeholder="https://host/owner/project.git" required />
            </label>
            <label>
              Branch, tag or commit <input name="ref" placeholder="default branch" />
            </label>
            <label>
              Credential <input name="credential" placeholder="none: public" />
            </label>
          </div>
        )}
        {place.value === "archive" && (
          <label class="fields">
            Archive <input name="archive" type="file" accept=".zip,.tar,.tgz,.tar.gz,.gz" required />
          </label>
        )}
        {place.value === "folder" && (
          <label class="fields">
            Path <input name="cwd" placeholder="/home/ada/project" required />
          </label>
        )}
      </fieldset>
      <Choices choice={choice.value} settings={null} change={(changed) => (choice.value = changed)} />
      {error.value && (
        <p class="error" role="alert">
          {error.value}
        </p>
      )}
      <p class="row">
        <button class="primary" disabled={busy.value}>
          {busy.value && place.value === "archive" ? "Uploading…" : "Begin"}
        </button>
        <span class="small quiet wide-only">
          or <kbd>Ctrl</kbd>+<kbd>Enter</kbd>
        </span>
      </p>
    </form>
  );
}

/** Upload an archive, which counts for one thread. Errors: ServerError */
async function archiveParams(file: FormDataEntryValue | null): Promise<{ config: Record<string, unknown> }> {
  if (!(file instanceof File) || file.size === 0) throw new Error("Choose an archive that is not empty.");
  const headers = { "Content-Type": "application/octet-stream" };
  const { archive } = (await jsonOf(await send("/v2/workspace/archive", { method: "POST", headers, body: file }))) as { archive: string };
  return { config: { workspace: { archive } } };
}

function placeParams(place: Place, field: (name: string) => string): { cwd?: string; config?: Record<string, unknown> } {
  if (place === "folder") return { cwd: field("cwd") };
  if (place === "empty") return {};
  const named = { gitUrl: field("gitUrl"), ref: field("ref"), credential: field("credential") };
  const workspace = Object.fromEntries(Object.entries(named).filter(([, value]) => value !== ""));
  return { config: { workspace } };
}

function Radio({ place, value, text }: { place: { value: Place }; value: Place; text: string }) {
  return (
    <label class="row">
      <input type="radio" name="place" value={value} checked={place.value === value} onChange={() => (place.value = value)} />
      {text}
    </label>
  );
}
