/** The load at a glance, the turns that are not done, and why each waits. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call } from "../../protocol/http";
import type { Methods, OpenTurn } from "../../protocol/types";
import { pathOf } from "../../state/route";
import { count, plural, since } from "../format";
import { EndedTurns, type Ending } from "./EndedTurns";
import { AlertsNow } from "./Health";
import { Answer, Choice, loadUsers, More, nameOf, Table, useAsked, useFirst, usePolled, UserLink, users, When } from "./parts";

type Overview = Methods["admin/overview/read"]["result"];
type Open = "any" | "queued" | "running" | "parked";
const STATES: Record<Open | Ending, string> = {
  any: "not done",
  queued: "queued",
  running: "running",
  parked: "parked",
  ended: "ended in the last 7 days",
  failed: "failed",
  interrupted: "interrupted",
  completed: "completed",
};
const OPEN: readonly string[] = ["any", "queued", "running", "parked"] satisfies Open[];
const CAUSES: Record<string, string> = {
  approval: "waiting for an answer",
  limit: "waiting for a limit of their user",
  noWorker: "without a worker",
  queue: "waiting for a free worker",
  claim: "being taken by a worker",
  lostWorker: "with a lost worker",
  tool: "at a tool call",
  model: "at the model",
};

export function Turns() {
  const state = useSignal<Open | Ending>("any");
  const load = usePolled((options) => call("admin/overview/read", {}, options));
  const now = load.data.value;
  const changed = now && JSON.stringify([now.turns, now.causes.map(({ state, cause, count }) => [state, cause, count])]);
  return (
    <>
      <h1>Turns</h1>
      <AlertsNow />
      <Answer asked={load}>{(overview) => <Load overview={overview} />}</Answer>
      <Choice label="State" value={state} choices={STATES} />
      {OPEN.includes(state.value) ? changed && <TurnList changed={changed} state={state.value as Open} /> : <EndedTurns ending={state.value as Ending} />}
    </>
  );
}

/** The list is asked for when the numbers have changed, because each look is written into the audit log. */
function TurnList({ changed, state }: { changed: string; state: Open }) {
  const turns = useAsked(async () => (await call("admin/turn/list", { limit: 1000 })).data, [changed]);
  const unknown = turns.data.value?.some((turn) => users.value && nameOf(turn.userId) === turn.userId);
  useEffect(() => void (users.value && !unknown ? null : loadUsers().catch(() => null)), [unknown]);
  return <Answer asked={turns}>{(found) => <OpenTurns turns={found} state={state} again={turns.again} />}</Answer>;
}

function Load({ overview }: { overview: Overview }) {
  const { workers, turns, causes } = overview;
  const facts: [string, number, string][] = [
    ["Running", turns.running, `of ${count(overview.slots)} at once`],
    ["Queued", turns.queued, ""],
    ["Parked", turns.parked, "wait for a person"],
    ["Workers", workers.ready, [workers.draining && `${workers.draining} stop`, workers.broken && `${workers.broken} broken`, workers.lost && `${workers.lost} lost`].filter(Boolean).join(", ") || "ready"],
    ["New turns", overview.newTurns, "in the last minute"],
    ["Tokens", overview.tokensToday, "today (UTC)"],
  ];
  return (
    <>
      <dl class="facts">
        {facts.map(([name, number, more]) => (
          <div key={name}>
            <dt class="quiet small">{name}</dt>
            <dd>
              <strong>{count(number)}</strong> <span class="quiet small">{more}</span>
            </dd>
          </div>
        ))}
      </dl>
      {causes.length > 0 && (
        <ul class="plain-list small">
          {causes.map((one) => (
            <li key={one.state + one.cause}>
              {count(one.count)} {one.state}, {CAUSES[one.cause] ?? one.cause}; the first began {since(one.sinceMs)}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function OpenTurns({ turns, state, again }: { turns: readonly OpenTurn[]; state: Open; again: () => void }) {
  const text = useSignal("");
  const wanted = text.value.trim().toLowerCase();
  const matches = (turn: OpenTurn) =>
    (state === "any" || turn.state === state) &&
    [nameOf(turn.userId), turn.turnId, turn.threadId, turn.worker ?? "", turn.why].some((one) => one.toLowerCase().includes(wanted));
  const found = turns.filter(matches);
  const { shown, more } = useFirst(found);
  if (turns.length === 0) return <p class="quiet">No turn runs or waits. One that waits is here, with the reason; those that have ended are under another state.</p>;
  return (
    <>
      <div class="row wrap">
        <input type="search" aria-label="Find by user, id, worker or reason" placeholder="User, id, worker, reason" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        <button onClick={again}>Look again</button>
      </div>
      {found.length === 0 ? (
        <p class="quiet">None of {plural(turns.length, "turn")} matches. Choose “not done”, or clear the text.</p>
      ) : (
        <Table head={["Since", "User", "State", "Why", "Worker", ""]} label="Turns">
          {shown.map((turn) => (
            <tr key={turn.turnId}>
              <td>
                <When ms={turn.sinceMs} />
              </td>
              <td>
                <UserLink userId={turn.userId} />
              </td>
              <td>{turn.state}</td>
              <td class="wide">{turn.why}</td>
              <td class="path small">{turn.worker ?? "none"}</td>
              <td>
                <a href={pathOf({ page: "admin", tab: "turns", id: turn.turnId })}>Timeline</a>
              </td>
            </tr>
          ))}
        </Table>
      )}
      <More more={more} />
    </>
  );
}
