/** The load at a glance, the turns that are not done, and why each waits. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call } from "../../protocol/http";
import type { Methods, OpenTurn } from "../../protocol/types";
import { pathOf } from "../../state/route";
import { count, since } from "../format";
import { Answer, Choice, loadUsers, More, nameOf, Table, useAsked, useFirst, usePolled, UserLink, users, When } from "./parts";

type Overview = Methods["admin/overview/read"]["result"];
type State = "any" | "queued" | "running" | "parked";
const STATES: Record<State, string> = { any: "all", queued: "queued", running: "running", parked: "parked" };
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
  const load = usePolled(() => call("admin/overview/read", {}));
  const now = load.data.value;
  const changed = now && JSON.stringify([now.turns, now.causes.map(({ state, cause, count }) => [state, cause, count])]);
  return (
    <>
      <h1>Turns that are not done</h1>
      <Answer asked={load}>{(overview) => <Load overview={overview} />}</Answer>
      {changed && <TurnList changed={changed} />}
    </>
  );
}

/** The list is asked for when the numbers have changed, because each look is written into the audit log. */
function TurnList({ changed }: { changed: string }) {
  const turns = useAsked(async () => (await call("admin/turn/list", { limit: 1000 })).data, [changed]);
  const unknown = turns.data.value?.some((turn) => users.value && nameOf(turn.userId) === turn.userId);
  useEffect(() => void (users.value && !unknown ? null : loadUsers().catch(() => null)), [unknown]);
  return <Answer asked={turns}>{(found) => <OpenTurns turns={found} again={turns.again} />}</Answer>;
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
              {count(one.count)} {one.state}, {CAUSES[one.cause] ?? one.cause}; the first began {since(one.sinceMs / 1000)}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function OpenTurns({ turns, again }: { turns: readonly OpenTurn[]; again: () => void }) {
  const state = useSignal<State>("any");
  const text = useSignal("");
  const wanted = text.value.trim().toLowerCase();
  const matches = (turn: OpenTurn) =>
    (state.value === "any" || turn.state === state.value) &&
    [nameOf(turn.userId), turn.turnId, turn.threadId, turn.worker ?? "", turn.why].some((one) => one.toLowerCase().includes(wanted));
  const found = turns.filter(matches);
  const { shown, more } = useFirst(found);
  if (turns.length === 0) return <p class="quiet">No turn runs or waits. One that waits is here, with the reason.</p>;
  return (
    <>
      <div class="row wrap">
        <Choice label="State" value={state} choices={STATES} />
        <input type="search" aria-label="Find by user, id, worker or reason" placeholder="User, id, worker, reason" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        <button onClick={again}>Look again</button>
      </div>
      {found.length === 0 ? (
        <p class="quiet">None of {count(turns.length)} turns matches. Choose all states, or clear the text.</p>
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
