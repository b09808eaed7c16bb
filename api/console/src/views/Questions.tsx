import { useSignal } from "@preact/signals";
import { useKept } from "./kept";
import { visible, visibleLine } from "./visible";

interface Question {
  id: string;
  header: string;
  question: string;
  isOther?: boolean;
  isSecret?: boolean;
  options: { label: string; description: string }[] | null;
}

interface Props {
  /** Of the draft of the answers. */
  name: string;
  questions: unknown;
  busy: boolean;
  send: (result: object) => void;
}

/** The questions of a model. One that is left empty is answered with nothing. */
export function Questions({ name, questions, busy, send }: Props) {
  const kept = useKept(name);
  const missing = useSignal(false);
  const asked = Array.isArray(questions) ? (questions as Question[]) : [];

  function submit(event: SubmitEvent): void {
    event.preventDefault();
    const fields = new FormData(event.currentTarget as HTMLFormElement);
    const answers = asked.map((one, index) => {
      const given = [fields.get(`option-${index}`), fields.get(`text-${index}`)].map((value) => String(value ?? "").trim());
      return [one.id, { answers: given.filter(Boolean) }] as const;
    });
    missing.value = answers.every(([, { answers }]) => answers.length === 0);
    if (!missing.value) send({ answers: Object.fromEntries(answers) });
  }

  return (
    <form {...kept} class="stack" onSubmit={submit}>
      {asked.map((one, index) => (
        <fieldset key={one.id} class="stack">
          <legend>{visible(one.question)}</legend>
          {one.options?.map((option) => (
            <label key={option.label} class="row">
              <input type="radio" name={`option-${index}`} value={option.label} />
              <span>
                {visibleLine(option.label)} <span class="quiet small">{visible(option.description)}</span>
              </span>
            </label>
          ))}
          <input
            name={`text-${index}`}
            type={(one.isSecret ? "password" : "text") as "text"}
            autocomplete="off"
            aria-label={one.options ? `Another answer to: ${one.question}` : one.question}
            placeholder={one.options ? "Another answer" : "Your answer"}
          />
        </fieldset>
      ))}
      {missing.value && (
        <p class="error" role="alert">
          Choose or write an answer.
        </p>
      )}
      <div class="row">
        <button class="primary" disabled={busy}>
          Answer
        </button>
      </div>
    </form>
  );
}
