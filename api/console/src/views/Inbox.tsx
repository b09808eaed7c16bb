/** What all threads of the user wait for. */
import { useEffect } from "preact/hooks";
import { inbox, inboxError, loadInbox } from "../state/inbox";
import { notifications, turnOff, turnOn } from "../state/notifications";
import { pathOf } from "../state/route";
import { titleOf } from "../state/threads";
import { Answered } from "./Answered";
import { since } from "./format";
import { RequestCard } from "./RequestCard";
import { visibleLine } from "./visible";

export function Inbox() {
  useEffect(() => void loadInbox(), []);
  const list = inbox.value;
  return (
    <section class="inbox stack">
      <h1>Inbox</h1>
      {inboxError.value && (
        <p class="error" role="alert">
          {inboxError.value} <button onClick={() => void loadInbox()}>Try again</button>
        </p>
      )}
      {list === null && !inboxError.value && <p class="quiet">Loading…</p>}
      {list?.length === 0 && (
        <p class="quiet">Nothing waits for you. When an agent asks whether it may run a command or change a file, or has a question, it is here.</p>
      )}
      {list?.map((one, index) => (
        <RequestCard key={one.id} request={{ ...one, params: { ...one.params, threadId: one.threadId, turnId: one.turnId } }} item={one.item} place={index}>
          <p class="small">
            <a href={pathOf({ page: "thread", threadId: one.threadId })}>{visibleLine(titleOf(one))}</a>{" "}
            <span class="quiet">asked {since(one.askedAtMs)}</span>
          </p>
        </RequestCard>
      ))}
      <Notifications />
      <Answered />
    </section>
  );
}

/** Whether the browser tells of what is new here; the user turns it on. */
function Notifications() {
  switch (notifications.value) {
    case "unable":
      return null;
    case "blocked":
      return <p class="small quiet">Your browser blocks notifications of this page; its settings for this site allow them.</p>;
    case "on":
      return (
        <p class="small quiet">
          Your browser tells you when something new waits, while this page is open. <button onClick={turnOff}>Turn notifications off</button>
        </p>
      );
    default:
      return (
        <p class="small quiet">
          <button onClick={() => void turnOn()}>Notify me</button> when something new waits, while this page is open.
        </p>
      );
  }
}
