/** What an MCP server wants to know: a form made from the simple schema that the protocol allows, or an address to visit. */
import { useSignal } from "@preact/signals";
import { useKept } from "./kept";
import { Link, safeAddress } from "./Markdown";
import { textOf, visible, visibleLine } from "./visible";

const MOST_FIELDS = 50; // until all are asked for
export const INVALID = Symbol("no number");
const LONG = 60; // characters of a default that need an area

interface Field {
  name: string;
  type: unknown;
  title: string;
  description: string;
  /** null: any text */
  choices: readonly string[] | null;
  initial: string;
}

interface Props {
  /** Of the draft of the answer. */
  name: string;
  params: Record<string, unknown>;
  busy: boolean;
  isWhole: boolean;
  send: (result: object) => void;
}

export function Elicitation(props: Props) {
  const { mode, url } = props.params;
  return mode === "url" && typeof url === "string" ? <Address url={url} /> : <Form {...props} />;
}

function Form({ name, params, busy, isWhole, send }: Props) {
  const error = useSignal<string | null>(null);
  const kept = useKept(name);
  const fields = fieldsOf(params);

  function submit(event: SubmitEvent): void {
    event.preventDefault();
    const given = new FormData(event.currentTarget as HTMLFormElement);
    // Fields have numbers, because a form takes the names of its fields for its own members.
    const values = fields.map((field, index) => [field.name, valueOf(given.get(`field-${index}`), field)] as const);
    const content = Object.fromEntries(values.filter(([, value]) => value !== undefined));
    const wrong = fields.filter((_, index) => values[index]![1] === INVALID).map(({ title }) => title);
    const missing = requiredOf(params).filter((name) => !Object.hasOwn(content, name));
    error.value = wrong.length
      ? `Give a number, such as 1.5, or a whole one where one is asked for: ${wrong.join(", ")}.`
      : missing.length
        ? `Fill in: ${missing.map(visibleLine).join(", ")}.`
        : null;
    if (!error.value) send({ action: "accept", content, _meta: null });
  }

  return (
    <form {...kept} class="stack" onSubmit={submit}>
      {fields.slice(0, isWhole ? undefined : MOST_FIELDS).map((field, index) => (
        <label key={field.name} class="stack">
          <span>
            {field.title} <span class="small quiet">{field.description}</span>
          </span>
          <Input name={`field-${index}`} field={field} />
        </label>
      ))}
      {error.value && (
        <p class="error" role="alert">
          {error.value}
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

function Address({ url }: { url: string }) {
  const address = safeAddress(url);
  if (address === null) return <p>It names an address that is none of the web, and is no link here: {visibleLine(url)}</p>;
  return (
    <p>
      Open <Link href={address}>{visibleLine(address)}</Link>, and do there what it asks. The address leads to <strong>{new URL(address).host}</strong>.
    </p>
  );
}

function Input({ name, field }: { name: string; field: Field }) {
  if (field.type === "boolean") return <input name={name} type="checkbox" defaultChecked={field.initial === "true"} />;
  if (field.choices) {
    return (
      <select name={name}>
        <option value="" />
        {field.choices.map((choice, index) => (
          <option key={index} value={choice} selected={choice === field.initial}>
            {visibleLine(choice)}
          </option>
        ))}
      </select>
    );
  }
  if (field.initial.length > LONG || field.initial.includes("\n")) return <textarea name={name} rows={4} defaultValue={field.initial} />;
  const isNumber = field.type === "number" || field.type === "integer";
  return <input name={name} inputMode={isNumber ? "decimal" : undefined} autocomplete="off" defaultValue={field.initial} />;
}

export function hasMoreFields(params: Record<string, unknown>): boolean {
  return fieldsOf(params).length > MOST_FIELDS;
}

/** Return the fields of a schema, whatever a server has sent as one. */
export function fieldsOf(params: Record<string, unknown>): Field[] {
  return Object.entries(objectOf(objectOf(params.requestedSchema).properties)).map(([name, given]) => {
    const field = objectOf(given);
    const initial = field.default === undefined || field.default === null ? "" : textOf(field.default);
    return {
      name,
      type: field.type,
      title: visibleLine(typeof field.title === "string" && field.title ? field.title : name),
      description: visible(typeof field.description === "string" ? field.description : ""),
      choices: Array.isArray(field.enum) ? field.enum.filter((choice) => typeof choice !== "object").map(String) : null,
      initial: visible(initial) === initial ? initial : "", // nobody answers with what they do not see
    };
  });
}

export function requiredOf(params: Record<string, unknown>): string[] {
  const { required } = objectOf(params.requestedSchema);
  return Array.isArray(required) ? required.filter((name) => typeof name === "string") : [];
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

/** Return what an answer has of a field; undefined: nothing was filled in, INVALID: no number that is sent as it was typed. */
export function valueOf(given: FormDataEntryValue | null, field: { type?: unknown; choices?: Field["choices"] }): unknown {
  if (field.type === "boolean") return given !== null;
  const text = field.choices ? String(given ?? "") : String(given ?? "").trim();
  if (text === "") return undefined;
  if (field.type !== "number" && field.type !== "integer") return text;
  const number = Number(text);
  const isExact = Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number));
  return isExact && (field.type === "number" || Number.isInteger(number)) ? number : INVALID;
}
