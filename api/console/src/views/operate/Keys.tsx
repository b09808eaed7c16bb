/** The API keys of a user: create one, which is shown once, and revoke them. */
import { useSignal } from "@preact/signals";
import { serverNowMs } from "../../protocol/clock";
import { call, messageOf } from "../../protocol/http";
import { say } from "../../state/toasts";
import { Answer, AskFirst, At, attempt, Choice, More, Table, usePages } from "./parts";

type Expiry = "0" | "7" | "30" | "90" | "365";
const EXPIRIES: Record<Expiry, string> = { "0": "never", "7": "in 7 days", "30": "in 30 days", "90": "in 90 days", "365": "in a year" };
const DAY_MS = 86_400_000;

export function Keys({ userId, isDisabled }: { userId: string; isDisabled: boolean }) {
  const pages = usePages((cursor) => call("admin/key/list", { userId, cursor }));
  const revoke = (keyId: string) =>
    void attempt("The key is revoked. What was signed in with it ends within a minute.", () => call("admin/key/revoke", { keyId }), pages.again);
  return (
    <section class="stack" aria-labelledby="keys">
      <h2 id="keys">API keys</h2>
      {!isDisabled && <NewKey userId={userId} again={pages.again} />}
      <Answer asked={pages}>
        {(keys) =>
          keys.length === 0 ? (
            <p class="quiet">There is no key yet. Create one and give it to the user: they sign in with it here, and clients send it as THREADHOUSE_TOKEN.</p>
          ) : (
            <Table head={["Label", "State", "Created", "Expires", "Last used", ""]} label="Keys of this user">
              {keys.map((key) => (
                <tr key={key.keyId}>
                  <td>{key.label}</td>
                  <td>{isDisabled && stateOf(key) === "valid" ? "valid once the user is enabled" : stateOf(key)}</td>
                  <td>
                    <At ms={key.createdAtMs} />
                  </td>
                  <td>
                    <At ms={key.expiresAtMs} />
                  </td>
                  <td>
                    <At ms={key.lastUsedAtMs} />
                  </td>
                  <td>
                    {stateOf(key) === "valid" && <AskFirst text="Revoke" of={key.label} keep="Keep it" act={() => revoke(key.keyId)} />}
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Answer>
      <More more={pages.more} />
    </section>
  );
}

function stateOf(key: { revokedAtMs: number | null; expiresAtMs: number | null }): string {
  if (key.revokedAtMs !== null) return "revoked";
  return key.expiresAtMs !== null && key.expiresAtMs <= serverNowMs() ? "expired" : "valid";
}

function NewKey({ userId, again }: { userId: string; again: () => void }) {
  const label = useSignal("");
  const expiry = useSignal<Expiry>("90");
  const secret = useSignal<string | null>(null);
  const busy = useSignal(false);
  const create = async () => {
    if (busy.value) return; // a double click makes one key
    busy.value = true;
    try {
      const expiresAtMs = expiry.value === "0" ? null : serverNowMs() + Number(expiry.value) * DAY_MS;
      secret.value = (await call("admin/key/create", { userId, label: label.value.trim() || "default", expiresAtMs })).key;
      label.value = "";
      again();
    } catch (error) {
      say(messageOf(error), "error");
    }
    busy.value = false;
  };
  if (secret.value) return <Secret secret={secret.value} done={() => (secret.value = null)} />;
  return (
    <form class="row wrap" onSubmit={(event) => (event.preventDefault(), void create())}>
      <label class="row">
        <span class="quiet">Label</span>
        <input maxLength={100} autocomplete="off" placeholder="laptop" value={label.value} onInput={(event) => (label.value = event.currentTarget.value)} />
      </label>
      <Choice label="Expires" value={expiry} choices={EXPIRIES} />
      <button type="submit" disabled={busy.value}>
        Create a key
      </button>
    </form>
  );
}

function Secret({ secret, done }: { secret: string; done: () => void }) {
  const copy = () =>
    navigator.clipboard?.writeText(secret).then(
      () => say("The key is copied."),
      () => say("The browser does not copy: select the key and copy it.", "error"),
    ) ?? say("The browser does not copy without https: select the key and copy it.", "error");
  return (
    <div class="card stack" role="status">
      <p>
        <strong>This key is shown once.</strong> Give it to the user in a way that nobody else can read; who has it acts as this user.
      </p>
      <pre class="key" tabIndex={0} aria-label="The new API key">
        {secret}
      </pre>
      <p class="row wrap">
        <button class="primary" onClick={() => void copy()}>
          Copy
        </button>
        <button onClick={done}>I have it</button>
      </p>
    </div>
  );
}
