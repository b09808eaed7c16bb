/** What was answered last, and by whom: another window, a terminal, or nobody in time. */
import { useEffect } from "preact/hooks";
import { call } from "../protocol/http";
import type { WaitingRequest } from "../protocol/types";
import { inbox } from "../state/inbox";
import { pathOf } from "../state/route";
import { titleOf } from "../state/threads";
import { ofUser } from "../state/user";
import { answeredBy, decisionText, titleOf as titleOfRequest } from "./decisions";
import { since } from "./format";
import { Guard } from "./Guard";
import { visibleLine } from "./visible";

const SHOWN = 20;

const answered = ofUser<readonly WaitingRequest[]>([]);

async function load(): Promise<void> {
  try {
    const { data } = await call("serverRequest/list", { state: "answered", limit: SHOWN });
    answered.value = data.filter((one) => one.answer);
  } catch {
    // What waits is more important, and says itself that it cannot be read.
  }
}

function Row({ one }: { one: WaitingRequest }) {
  return (
    <>
      <strong>{decisionText(one.answer!.decision)}</strong> {titleOfRequest(one)}{" "}
      {typeof one.params.command === "string" && <code class="path">{visibleLine(one.params.command.slice(0, 120))}</code>}
      <span class="quiet">
        {answeredBy(one.answer!)}, {since(one.answer!.atMs)}, in{" "}
        <a href={pathOf({ page: "thread", threadId: one.threadId })}>{titleOf(one)}</a>
      </span>
    </>
  );
}

export function Answered() {
  useEffect(() => void load(), [inbox.value]);
  if (answered.value.length === 0) return null;
  return (
    <section class="stack" aria-label="Answered lately">
      <h2>Answered lately</h2>
      <ul class="answered">
        {answered.value.map((one) => (
          <li key={one.id} class="small">
            <Guard what="answer" of={one}>
              <Row one={one} />
            </Guard>
          </li>
        ))}
      </ul>
    </section>
  );
}
