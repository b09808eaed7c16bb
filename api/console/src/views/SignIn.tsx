import { useSignal } from "@preact/signals";
import { messageOf } from "../protocol/http";
import { hasEnded, provider, signIn, signInPath } from "../state/session";

export function SignIn() {
  const error = useSignal<string | null>(null);
  const busy = useSignal(false);

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const credential = String(new FormData(form).get("credential") ?? "").trim();
    if (!credential) {
      error.value = "Paste your API key or token.";
      return;
    }
    busy.value = true;
    try {
      await signIn(credential);
    } catch (problem) {
      error.value = messageOf(problem);
      busy.value = false;
    }
  }

  return (
    <main class="center stack sign-in">
      <h1>Threadhouse</h1>
      {hasEnded.value && <p role="status">Your session has ended: sign in again.</p>}
      {provider.value && (
        <section class="card stack" aria-label="With your account">
          <a class="button primary" href={signInPath()} autofocus>
            Sign in with {provider.value}
          </a>
        </section>
      )}
      <form class="card stack" onSubmit={(event) => void submit(event)} noValidate>
        <label for="credential">API key or token</label>
        <input
          id="credential"
          name="credential"
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          autofocus={provider.value === null}
          aria-describedby="credential-help"
          aria-invalid={error.value !== null}
        />
        {error.value && (
          <p class="error" role="alert">
            {error.value}
          </p>
        )}
        <button class={provider.value ? "" : "primary"} disabled={busy.value}>
          Sign in
        </button>
        <p id="credential-help" class="quiet small">
          Your operator makes a key with <code>threadhouse keys create NAME</code>. It is exchanged for a session, and stored nowhere in this browser.
        </p>
      </form>
    </main>
  );
}
