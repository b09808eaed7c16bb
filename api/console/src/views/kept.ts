/** Forms that keep what is typed into them as a draft, over other pages and a reload. Passwords and files are not kept. */
import type { RefObject } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { draftOf } from "../state/drafts";

type Kept = Readonly<Record<string, string>>;
type Field = Pick<HTMLInputElement, "name" | "type" | "value" | "checked">;

interface KeptForm {
  ref: RefObject<HTMLFormElement | null>;
  onInput: () => void;
}

/** Return what a form takes to keep its fields under a name. */
export function useKept(name: string): KeptForm {
  const ref = useRef<HTMLFormElement>(null);
  const draft = useMemo(() => draftOf<Kept>(name, {}), [name]);
  const fields = () => [...ref.current!.elements] as unknown as Field[];
  useLayoutEffect(() => fill(fields(), draft.peek())); // each time, because fields come and go
  return { ref, onInput: () => (draft.value = { ...draft.peek(), ...read(fields()) }) };
}

export function forgetKept(name: string): void {
  draftOf<Kept>(name, {}).value = {};
}

const isKept = ({ name, type }: Field) => Boolean(name) && type !== "password" && type !== "file";

export function read(fields: readonly Field[]): Kept {
  const kept = fields.filter((field) => isKept(field) && (field.type !== "radio" || field.checked));
  return Object.fromEntries(kept.map(({ name, type, value, checked }) => [name, type === "checkbox" ? String(checked) : value]));
}

export function fill(fields: readonly Field[], kept: Kept): void {
  for (const field of fields) {
    const value = kept[field.name];
    if (value === undefined || !isKept(field)) continue;
    if (field.type === "checkbox") field.checked = value === "true";
    else if (field.type === "radio") field.checked = value === field.value;
    else field.value = value;
  }
}
