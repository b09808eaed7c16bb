/** The operator's pages: what runs and why it waits, the workers, the users, the health. */
import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { call, messageOf } from "../protocol/http";
import type { OpenTurn, UserWithTurns, Worker } from "../protocol/types";
import { type AdminTab, pathOf } from "../state/route";
import { who } from "../state/session";
import { say } from "../state/toasts";
import { ago, count, moment, since } from "./format";
import { TurnDetails } from "./TurnDetails";

const REFRESH_MS = 5000;
const TABS: Record<AdminTab, string> = { turns: "Turns", workers: "Workers", users: "Users", health: "Health" };

export function Admin({ tab, id }: { tab: AdminTab; id: string | null }) {
  if (who.value?.user.role !== "admin") return <p class="center">Only admins may see this page. Ask your operator for the role.</p>;
  return (
    <section class="admin stack">
      <nav class="tabs" aria-label="Operate">
        {(Object.keys(TABS) as AdminTab[]).map((name) => (
          <a key={name} href={pathOf({ page: "admin", tab: name, id: null })} aria-current={name === tab ? "page" : undefined}>
            {TABS[name]}
          </a>
        ))}
      </nav>
      {tab === "turns" && (id ? <TurnDetails key={id} turnId={id} /> : <Turns />)}
      {tab === "workers" && <Workers />}
      {tab === "users" && <Users />}
      {tab === "health" && <Health />}
    </section>
  );
}

interface Polled<Data> {
  data: Signal<Data | null>;
  error: Signal<string | null>;
  again: () => void;
}

/** Ask again and again while the page is seen. */
export function usePolled<Data>(ask: () => Promise<Data>): Polled<Data> {
  const data = useSignal<Data | null>(null);
  const error = useSignal<string | null>(null);
  const again = () =>
    void ask().then(
      (found) => ((data.value = found), (error.value = null)),
      (problem) => (error.value = messageOf(problem)),
    );
  useEffect(() => {
    again();
    const timer = setInterval(() => document.hidden || again(), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  return { data, error, again };
}

export function Section<Data>({ title, polled, children }: { title: string; polled: Polled<Data>; children: (data: Data) => ComponentChildren }) {
  return (
    <>
      <h1>{title}</h1>
      {polled.error.value && (
        <p class="error" role="alert">
          {polled.error.value}
        </p>
      )}
      {polled.data.value === null ? !polled.error.value && <p class="quiet">Loading…</p> : children(polled.data.value)}
    </>
  );
}

/** Do something and say how it went. */
export async function attempt(done: string, act: () => Promise<unknown>, afterwards: () => void): Promise<void> {
  try {
    await act();
    say(done);
  } catch (error) {
    say(messageOf(error), "error");
  }
  afterwards();
}

function Table({ head, label, children }: { head: string[]; label: string; children: ComponentChildren }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table class="grid">
        <thead>
          <tr>
            {head.map((name) => (
              <th key={name} scope="col">
                {name || <span class="unseen">Actions</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

interface TurnsFound {
  turns: OpenTurn[];
  users: UserWithTurns[];
}

async function findTurns(): Promise<TurnsFound> {
  const [turns, users] = await Promise.all([call("admin/turn/list", { limit: 500 }), call("admin/user/list", {})]);
  return { turns: turns.data, users: users.data };
}

function Turns() {
  const polled = usePolled(findTurns);
  return (
    <Section title="Turns that are not done" polled={polled}>
      {({ turns, users }) =>
        turns.length === 0 ? (
          <p class="quiet">No turn runs or waits. One that waits is here, with the reason.</p>
        ) : (
          <Table head={["Since", "User", "State", "Why", "Worker", ""]} label="Turns">
            {turns.map((turn) => (
              <tr key={turn.turnId}>
                <td class="nowrap">{ago(turn.sinceMs / 1000)}</td>
                <td>{users.find((user) => user.userId === turn.userId)?.name ?? turn.userId}</td>
                <td>{turn.state}</td>
                <td class="wide">{turn.why}</td>
                <td class="path small">{turn.worker ?? "none"}</td>
                <td>
                  <a href={pathOf({ page: "admin", tab: "turns", id: turn.turnId })}>Timeline</a>
                </td>
              </tr>
            ))}
          </Table>
        )
      }
    </Section>
  );
}

function Workers() {
  const polled = usePolled(async () => (await call("admin/worker/list", {})).data);
  return (
    <Section title="Workers" polled={polled}>
      {(workers: Worker[]) =>
        workers.length === 0 ? (
          <p class="quiet">
            No worker has reported. Start one with <code>threadhouse worker</code>; turns wait until then.
          </p>
        ) : (
          <Table head={["Name", "State", "Turns", "Queues", "Version", "Started", "Seen"]} label="Workers">
            {workers.map((worker) => (
              <tr key={worker.name}>
                <td class="path">{worker.name}</td>
                <td>
                  <span class={`badge ${worker.state === "ready" ? "completed" : worker.state === "draining" ? "inProgress" : "failed"}`}>{worker.state}</span>
                  {worker.problem && <div class="small">{worker.problem}</div>}
                </td>
                <td>
                  {worker.turns} of {worker.slots}
                </td>
                <td>{worker.queues.join(", ")}</td>
                <td>{worker.version}</td>
                <td class="nowrap">{moment(worker.startedAtMs)}</td>
                <td class="nowrap">{ago(worker.seenAtMs / 1000)}</td>
              </tr>
            ))}
          </Table>
        )
      }
    </Section>
  );
}

function Users() {
  const polled = usePolled(async () => (await call("admin/user/list", {})).data);
  const disable = (user: UserWithTurns) => {
    if (!confirm(`Lock ${user.name} out, and stop their ${count(user.activeTurns)} turns?`)) return;
    void attempt(`${user.name} is disabled.`, () => call("admin/user/disable", { userId: user.userId, stopTurns: true }), polled.again);
  };
  const enable = (user: UserWithTurns) =>
    void attempt(`${user.name} may sign in again.`, () => call("admin/user/enable", { userId: user.userId }), polled.again);
  return (
    <Section title="Users" polled={polled}>
      {(users: UserWithTurns[]) =>
        users.length === 0 ? (
          <p class="quiet">
            There are no users: this server serves its own machine. Add one with <code>threadhouse users add NAME</code>, and a key with{" "}
            <code>threadhouse keys create NAME</code>.
          </p>
        ) : (
          <Table head={["Name", "Role", "Active turns", "Since", "State", ""]} label="Users">
            {users.map((user) => (
              <tr key={user.userId}>
                <td>{user.name}</td>
                <td>{user.role}</td>
                <td>{count(user.activeTurns)}</td>
                <td class="nowrap">{moment(user.createdAtMs)}</td>
                <td>{user.disabledAtMs === null ? "may sign in" : `disabled ${since(user.disabledAtMs / 1000)}`}</td>
                <td>
                  {user.disabledAtMs !== null ? (
                    <button onClick={() => enable(user)}>Enable</button>
                  ) : (
                    user.userId !== who.value?.user.id && (
                      <button class="danger" onClick={() => disable(user)}>
                        Disable
                      </button>
                    )
                  )}
                </td>
              </tr>
            ))}
          </Table>
        )
      }
    </Section>
  );
}

interface Check {
  name: string;
  ok: boolean;
  message: string;
}

/** Read /statusz, which answers 503 with the same body when something is wrong. */
async function findHealth(): Promise<{ ok: boolean; checks: Check[] }> {
  const response = await fetch("/statusz", { credentials: "same-origin", cache: "no-store" });
  const body = await response.json();
  if (!Array.isArray(body.checks)) throw new Error(body.detail ?? `The server answered ${response.status}. Try again.`);
  return body as { ok: boolean; checks: Check[] };
}

function Health() {
  const polled = usePolled(findHealth);
  return (
    <Section title="Health" polled={polled}>
      {({ ok, checks }) => (
        <>
          <p class={ok ? "quiet" : "error"} role="status">
            {ok ? "The deployment does its work." : "Something is wrong: see below what, and what to do."}
          </p>
          <Table head={["Part", "State", "Details"]} label="Checks">
            {checks.map((check) => (
              <tr key={check.name}>
                <td>{check.name}</td>
                <td>
                  <span class={`badge ${check.ok ? "completed" : "failed"}`}>{check.ok ? "well" : "wrong"}</span>
                </td>
                <td class="wide">{check.message}</td>
              </tr>
            ))}
          </Table>
        </>
      )}
    </Section>
  );
}
