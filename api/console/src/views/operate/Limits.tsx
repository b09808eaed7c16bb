/** The limits of one user, beside the defaults of the configuration. */
import { useSignal } from "@preact/signals";
import { call } from "../../protocol/http";
import type { Methods } from "../../protocol/types";
import { count, plural } from "../format";
import { Answer, attempt, useAsked } from "./parts";

type Limit = Methods["admin/userLimits/read"]["result"]["data"][number];

export function Limits({ userId }: { userId: string }) {
  const asked = useAsked(() => call("admin/userLimits/read", { userId }));
  return (
    <section class="stack" aria-labelledby="limits">
      <h2 id="limits">Limits</h2>
      <p class="quiet small">An empty field takes the default of config.toml; 0 means no limit. A change has effect within 10 seconds, and at the next step of a running turn.</p>
      <Answer asked={asked}>
        {({ data, usedBytes }) => (
          <>
            <Form key={JSON.stringify(data)} userId={userId} limits={data} again={asked.again} />
            <p class="small quiet">The threads use {plural(usedBytes, "byte")} now.</p>
          </>
        )}
      </Answer>
    </section>
  );
}

function Form({ userId, limits, again }: { userId: string; limits: readonly Limit[]; again: () => void }) {
  const shown = Object.fromEntries(limits.map((one) => [one.name, one.own === null ? "" : String(one.own)]));
  const values = useSignal<Record<string, string>>(shown);
  const changes = Object.entries(values.value).filter(([name, text]) => text.trim() !== shown[name]);
  const save = () => {
    const asNumbers = Object.fromEntries(changes.map(([name, text]) => [name, text.trim() === "" ? null : Number(text)]));
    void attempt("The limits are changed.", () => call("admin/userLimits/set", { userId, limits: asNumbers }), again);
  };
  return (
    <form class="stack" onSubmit={(event) => (event.preventDefault(), save())}>
      <div class="limits">
        {limits.map((one) => (
          <label key={one.name} class="stack">
            <span>{one.name.replaceAll("_", " ")}</span>
            <input
              inputMode="numeric"
              pattern="[0-9]{1,15}"
              title="A whole number, or nothing for the default"
              placeholder={`default: ${one.default === 0 ? "no limit" : count(one.default)}`}
              value={values.value[one.name]}
              onInput={(event) => (values.value = { ...values.value, [one.name]: event.currentTarget.value })}
            />
            <span class="small quiet">{one.about}</span>
          </label>
        ))}
      </div>
      <p>
        <button type="submit" disabled={changes.length === 0}>
          Save limits
        </button>
      </p>
    </form>
  );
}
