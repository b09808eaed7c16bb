/** What a thread asks a person: may this command run, may this patch be applied, or a question. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useMemo, useRef } from "preact/hooks";
import type { Item, ServerRequest } from "../protocol/types";
import { answer } from "../state/inbox";
import { type Key, useKeys } from "../state/keys";
import { useInView, useSettled } from "../state/shown";
import { type Decision, decisionsOf, ELICITATION, metaOf, QUESTION, titleOf } from "./decisions";
import { Diff } from "./Diff";
import { MOST_LINES } from "./diff";
import { Elicitation, hasMoreFields } from "./Elicitation";
import { Guard } from "./Guard";
import { Questions } from "./Questions";
import { type Subject, subjectOf } from "./subject";
import { shortened, textOf, visibleLine } from "./visible";

export interface RequestProps {
  request: Pick<ServerRequest, "id" | "method" | "params">;
  item: Item | null;
  /** Its place among the requests of the page. Single keys answer the first one. */
  place: number;
  children?: ComponentChildren;
}

/** A request; one that cannot be shown leaves the others as they are. */
export function RequestCard(props: RequestProps) {
  return (
    <Guard what="request" of={props.request.params}>
      <Card {...props} />
    </Guard>
  );
}

function Card({ request, item, place, children }: RequestProps) {
  const sent = useSignal(false);
  const isWhole = useSignal(false);
  const subject = useMemo(() => subjectOf(request, item, isWhole.value), [request.params, item, isWhole.value]);
  const isLong = subject.left !== "" || (!isWhole.value && hasMoreFields(request.params));
  const mayAccept = !isLong && subject.lacks === null;
  const row = useRef<HTMLDivElement>(null);
  const inView = useInView(row);
  // What has just come, moved up or been unfolded is not what a hand was on its way to.
  const settled = useSettled(place, mayAccept);
  const keysSettled = useSettled(place === 0, mayAccept, inView.value);
  const keyed = inView.value && keysSettled.value;
  const send = (result: object) => {
    if (sent.value) return;
    sent.value = true;
    void answer(request.id, result).then((over) => (sent.value = over));
  };
  const decisions = decisionsOf(request);
  const press = ({ result, allows }: Decision) => inView.peek() && keysSettled.peek() && (mayAccept || !allows) && send(result);
  useKeys(place === 0 ? decisions.map((one): Key => ({ key: one.key, about: one.text, act: () => press(one) })) : []);
  const title = titleOf(request);
  const busy = sent.value || !settled.value;
  const form = { params: request.params, busy: busy || !mayAccept, send };
  return (
    <section class="request card" aria-label={title}>
      <h2>{title}</h2>
      {children}
      <SubjectView subject={subject} request={request} isWhole={isWhole.value} />
      {isLong && (
        <p>
          Not all is shown{subject.left && `: ${subject.left}`}. <button onClick={() => (isWhole.value = true)}>Show all</button> before you accept it.
        </p>
      )}
      {request.method === QUESTION && <Questions questions={request.params.questions} busy={form.busy} send={send} />}
      {request.method === ELICITATION && !metaOf(request.params) && <Elicitation {...form} isWhole={isWhole.value} />}
      <div class="row wrap" ref={row}>
        {decisions.map((one) => (
          <button key={one.key} class={one.kind} disabled={busy || (one.allows && !mayAccept)} onClick={() => send(one.result)}>
            {one.text} {place === 0 && <kbd class={keyed ? "wide-only" : "wide-only off"}>{one.key}</kbd>}
          </button>
        ))}
      </div>
    </section>
  );
}

const VIEWS = { words: "verbatim", code: "code", folder: "small quiet path" };

function SubjectView({ subject, request, isWhole }: { subject: Subject; request: RequestProps["request"]; isWhole: boolean }) {
  return (
    <>
      {subject.texts.map(({ kind, label, text }) =>
        kind === "code" ? (
          <pre key={label} class={VIEWS.code} tabIndex={0} aria-label={label}>
            {text}
          </pre>
        ) : (
          <p key={label} class={VIEWS[kind]}>
            {kind === "folder" && (label === "Folder" ? "in " : `${label}: `)}
            {text}
          </p>
        ),
      )}
      {subject.changes.map((change, index) => (
        <Diff key={index} change={change} open={isWhole || subject.changes.length <= 5} most={isWhole ? Infinity : MOST_LINES} />
      ))}
      {subject.isWritten && <p class="small notice">Characters that would not be seen, or would hide or reorder others, are written as \u&#123;…&#125;.</p>}
      {subject.lacks && <p class="error">{subject.lacks}</p>}
      {request.method === "item/tool/call" && (
        <p class="quiet">The client that has the tool “{shortened(visibleLine(textOf(request.params.tool)), 100)}” must answer this one.</p>
      )}
    </>
  );
}
