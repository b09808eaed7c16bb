/** What the operator's pages share: asking again and again, lists that page, tables, names of users. */
import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { call, messageOf } from "../../protocol/http";
import type { UserWithTurns } from "../../protocol/types";
import { pathOf } from "../../state/route";
import { attempt as attemptIt, say } from "../../state/toasts";
import { ofUser } from "../../state/user";
import { focusPage } from "../focus";
import { moment, second, since } from "../format";

const REFRESH_MS = 5000;
const LONGEST_MS = 10_000; // that an answer may take
const ROWS = 50;

export interface Asked<Data> {
  data: Signal<Data | null>;
  error: Signal<string | null>;
  again: () => void;
}

/** Ask once, and anew when one of the values changes. An answer that comes after a newer question is dropped. */
export function useAsked<Data>(ask: () => Promise<Data>, values: readonly unknown[] = []): Asked<Data> {
  const data = useSignal<Data | null>(null);
  const error = useSignal<string | null>(null);
  const last = useRef(0);
  const again = () => {
    const mine = ++last.current;
    const isLast = () => mine === last.current;
    void ask().then(
      (found) => isLast() && ((data.value = found), (error.value = null)),
      (problem) => isLast() && (error.value = messageOf(problem)),
    );
  };
  useEffect(again, values);
  return { data, error, again };
}

/**
 * Ask again and again while the page is seen: for methods that the audit log has no entry of. ask: gets what its requests
 * need, so that one without an answer ends as an error, and no others pile up behind it
 */
export function usePolled<Data>(ask: (options: RequestInit) => Promise<Data>): Asked<Data> {
  const isWaiting = useRef(false);
  const asked = useAsked(async () => {
    isWaiting.current = true;
    try {
      return await ask({ signal: AbortSignal.timeout(LONGEST_MS) });
    } finally {
      isWaiting.current = false;
    }
  });
  useEffect(() => {
    const timer = setInterval(() => document.hidden || isWaiting.current || asked.again(), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  return asked;
}

interface Page<Row> {
  data: readonly Row[];
  nextCursor?: string | null;
}

export interface Pages<Row> extends Asked<readonly Row[]> {
  more: (() => void) | null;
}

/** Ask for the first page of a list, and for the next one on demand. */
export function usePages<Row>(ask: (cursor: string | null) => Promise<Page<Row>>, values: readonly unknown[] = []): Pages<Row> {
  const next = useSignal<string | null>(null);
  const first = useAsked(async () => {
    const page = await ask(null);
    next.value = page.nextCursor ?? null;
    return page.data;
  }, values);
  const more = () => {
    const [cursor, before] = [next.value, first.data.value];
    next.value = null; // one page at a time
    ask(cursor).then(
      (page) => {
        if (first.data.value !== before) return; // the list was asked for anew meanwhile
        first.data.value = [...(before ?? []), ...page.data];
        next.value = page.nextCursor ?? null;
      },
      (problem) => ((next.value = cursor), say(messageOf(problem), "error")),
    );
  };
  return { ...first, more: next.value === null ? null : more };
}

/** Return the first rows of a long list, and how to see more of them. */
export function useFirst<Row>(rows: readonly Row[]): { shown: readonly Row[]; more: (() => void) | null } {
  const most = useSignal(ROWS);
  return { shown: rows.slice(0, most.value), more: rows.length > most.value ? () => void (most.value += ROWS) : null };
}

export function More({ more }: { more: (() => void) | null }) {
  if (!more) return null;
  return (
    <p>
      <button onClick={more}>Show more</button>
    </p>
  );
}

/** What was asked for: the error, or nothing yet, or the children. */
export function Answer<Data>({ asked, children }: { asked: Asked<Data>; children: (data: Data) => ComponentChildren }) {
  return (
    <>
      {asked.error.value && (
        <p class="error" role="alert">
          {asked.error.value} <button onClick={asked.again}>Try again</button>
        </p>
      )}
      {asked.data.value === null ? !asked.error.value && <p class="quiet">Loading…</p> : children(asked.data.value)}
    </>
  );
}

/** Do something and say how it went. Returns whether it went well. */
export async function attempt(done: string, act: () => Promise<unknown>, afterwards: () => void = () => {}): Promise<boolean> {
  const well = await attemptIt(act);
  if (well) say(done);
  afterwards();
  return well;
}

/** Return how to act on a row of a list, and whether nothing else can: until the list says what has become of the row, so that no double click acts twice. */
export function useOnce<Row>(pages: Pages<Row>): { busy: boolean; act: (done: string, act: () => Promise<unknown>) => Promise<void> } {
  const busy = useSignal(false);
  useEffect(() => void (busy.value = false), [pages.data.value]);
  async function act(done: string, act: () => Promise<unknown>): Promise<void> {
    if (busy.peek()) return;
    busy.value = true;
    if (!(await attempt(done, act, pages.again))) busy.value = false;
  }
  return { busy: busy.value, act };
}

/** A button that acts when it is pressed a second time. of: what it acts on, for those who do not see the row; keep: what leaves it */
export function AskFirst({ text, of = "", keep, kind, act }: { text: string; of?: string; keep: string; kind?: string; act: () => void }) {
  const asks = useSignal(false);
  const place = useRef<HTMLButtonElement>(null); // or what stands in its place
  const asked = useRef(false);
  useLayoutEffect(() => {
    if (asked.current && !asks.value) place.current?.focus(); // what was pressed is gone
    asked.current = asks.value;
  }, [asks.value]);
  useLayoutEffect(() => () => void (place.current?.contains(document.activeElement) && focusPage()), []);
  const really = `Really ${text[0]!.toLowerCase()}${text.slice(1)}?`;
  const label = (said: string) => (of ? `${said} ${of}` : undefined);
  if (!asks.value) {
    return (
      <button class={kind} aria-label={label(text)} ref={place} onClick={() => (asks.value = true)}>
        {text}
      </button>
    );
  }
  return (
    <span class="row" ref={place}>
      <button class="danger" aria-label={label(really)} ref={focus} onClick={() => ((asks.value = false), act())}>
        {really}
      </button>
      <button onClick={() => (asks.value = false)}>{keep}</button>
    </span>
  );
}

function focus(button: HTMLButtonElement | null): void {
  button?.focus();
}

/** Return the names of columns for the style sheet, which puts them beside the cells of a narrow window. */
function labels(head: readonly (string | [string])[]): Record<string, string> {
  return Object.fromEntries(head.map((name, index) => [`--head-${index + 1}`, JSON.stringify(String(name))]));
}

/** head: names of columns; "" has actions, [name] has numbers */
export function Table({ head, label, children, foot }: { head: (string | [string])[]; label: string; children: ComponentChildren; foot?: ComponentChildren }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table class="grid" style={labels(head)}>
        <thead>
          <tr>
            {head.map((name) => (
              <th key={String(name)} scope="col" class={typeof name === "string" ? undefined : "number"}>
                {String(name) || <span class="unseen">Actions</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
        {foot && <tfoot>{foot}</tfoot>}
      </table>
    </div>
  );
}

/** How long ago, with the moment in the viewer's time zone. */
export function When({ ms, write = since }: { ms: number; write?: (ms: number) => string }) {
  return (
    <time class="nowrap" dateTime={new Date(ms).toISOString()} title={second(ms)}>
      {write(ms)}
    </time>
  );
}

/** A moment in the viewer's time zone. */
export function At({ ms }: { ms: number | null }) {
  if (ms === null) return <span class="quiet">never</span>;
  return (
    <time class="nowrap" dateTime={new Date(ms).toISOString()} title={second(ms)}>
      {moment(ms)}
    </time>
  );
}

export function Choice<Value extends string>({ label, value, choices }: { label: string; value: Signal<Value>; choices: Record<Value, string> }) {
  return (
    <label class="row">
      <span class="quiet">{label}</span>
      <select value={value.value} onChange={(event) => (value.value = event.currentTarget.value as Value)}>
        {(Object.entries(choices) as [Value, string][]).map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

// -- names of users

export const users = ofUser<readonly UserWithTurns[] | null>(null);

export async function loadUsers(): Promise<readonly UserWithTurns[]> {
  users.value = (await call("admin/user/list", {})).data;
  return users.value;
}

/** Ask for the users once, because each look is written into the audit log. */
export function useUsers(): void {
  useEffect(() => void (users.value ?? loadUsers().catch((error) => say(messageOf(error), "error"))), []);
}

export function nameOf(userId: string): string {
  return users.value?.find((user) => user.userId === userId)?.name ?? userId;
}

export function UserLink({ userId }: { userId: string }) {
  const known = users.value?.some((user) => user.userId === userId);
  if (!known) return <span class={userId.length > 30 ? "path small" : undefined}>{userId}</span>;
  return <a href={pathOf({ page: "admin", tab: "users", id: userId })}>{nameOf(userId)}</a>;
}

/** An id: short, with the whole of it for those who look. */
export function Id({ id }: { id: string | null }) {
  return id === null ? null : <code class="path small">{id}</code>;
}
