/** What an MCP server wants to know: a form made from the simple schema that the protocol allows, or an address to visit. */
import { useSignal } from "@preact/signals";
import { Link } from "./Markdown";

interface Field {
  type?: string;
  title?: string;
  description?: string;
  enum?: unknown[];
  default?: unknown;
}

interface Props {
  params: Record<string, unknown>;
  busy: boolean;
  send: (result: object) => void;
}

export function Elicitation({ params, busy, send }: Props) {
  const error = useSignal<string | null>(null);
  if (params.mode === "url" && typeof params.url === "string") {
    return (
      <p>
        Open <Link href={params.url}>{params.url}</Link>, and do there what it asks.
      </p>
    );
  }
  const schema = (params.requestedSchema ?? {}) as { properties?: Record<string, Field>; required?: unknown[] };
  const fields = Object.entries(schema.properties ?? {}).slice(0, 50);

  function submit(event: SubmitEvent): void {
    event.preventDefault();
    const given = new FormData(event.currentTarget as HTMLFormElement);
    const content: Record<string, unknown> = {};
    for (const [name, field] of fields) {
      const value = valueOf(given.get(name), field);
      if (value !== undefined) content[name] = value;
    }
    const missing = (schema.required ?? []).filter((name) => !(String(name) in content));
    error.value = missing.length ? `Fill in: ${missing.join(", ")}.` : null;
    if (!error.value) send({ action: "accept", content, _meta: null });
  }

  return (
    <form class="stack" onSubmit={submit}>
      {fields.map(([name, field]) => (
        <label key={name} class="stack">
          <span>
            {field.title ?? name} <span class="small quiet">{field.description}</span>
          </span>
          <Input name={name} field={field} />
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

function Input({ name, field }: { name: string; field: Field }) {
  if (field.type === "boolean") return <input name={name} type="checkbox" defaultChecked={field.default === true} />;
  if (Array.isArray(field.enum)) {
    return (
      <select name={name} defaultValue={String(field.default ?? "")}>
        <option value="" />
        {field.enum.map((value) => (
          <option key={String(value)}>{String(value)}</option>
        ))}
      </select>
    );
  }
  const isNumber = field.type === "number" || field.type === "integer";
  return <input name={name} inputMode={isNumber ? "decimal" : undefined} autocomplete="off" defaultValue={String(field.default ?? "")} />;
}

export function valueOf(given: FormDataEntryValue | null, field: Field): unknown {
  if (field.type === "boolean") return given !== null;
  const text = String(given ?? "").trim();
  if (text === "") return undefined;
  if (field.type !== "number" && field.type !== "integer") return text;
  const number = Number(text);
  return Number.isFinite(number) && (field.type === "number" || Number.isInteger(number)) ? number : undefined;
}
