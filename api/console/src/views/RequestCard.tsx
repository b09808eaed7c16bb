/** What a thread asks a person: may this command run, may this patch be applied, or a question. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { Item, ServerRequest } from "../protocol/types";
import { answer, inbox } from "../state/inbox";
import { type Key, useKeys } from "../state/keys";
import { singleKeys } from "../state/preferences";
import { useInView, useSettled } from "../state/shown";
import { type Decision, decisionsOf, ELICITATION, metaOf, QUESTION, titleOf } from "./decisions";
import { Diff } from "./Diff";
import { MOST_LINES } from "./diff";
import { moment } from "./format";
import { Elicitation, hasMoreFields } from "./Elicitation";
import { focusPage } from "./focus";
import { Guard } from "./Guard";
import { forgetKept } from "./kept";
import { Questions } from "./Questions";
import { type Subject, subjectOf } from "./subject";
import { shortened, textOf, visibleLine } from "./visible";

export interface RequestProps {
  request: Pick<ServerRequest, "id" | "method" | "params">;
  item: Item | null;
  /** Its place among the requests of the page. */
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
  const card = useRef<HTMLElement>(null);
  const chosen = useSignal(false);
  const notice = () => (chosen.value = card.current!.contains(document.activeElement) && document.activeElement !== passedTo);
  const turnTo = () => ((passedTo = null), notice());
  const hadFocus = useRef(false); // as it was answered
  useLayoutEffect(() => () => void (hadFocus.current && passFocus(card.current!)), []);
  const keysSettled = useSettled(chosen.value, mayAccept, inView.value);
  const keyed = chosen.value && inView.value && keysSettled.value;
  const name = `request ${request.id}`;
  const send = (result: object) => {
    if (sent.value) return;
    sent.value = true;
    hadFocus.current = card.current!.contains(document.activeElement);
    void answer(request.id, result).then((over) => {
      sent.value = over;
      if (over) forgetKept(name);
    });
  };
  const decisions = decisionsOf(request);
  const press = ({ result, allows }: Decision) => notice() && inView.peek() && keysSettled.peek() && (mayAccept || !allows) && send(result);
  useKeys(chosen.value ? decisions.map((one): Key => ({ key: one.key, about: `${one.text} (the chosen request)`, act: () => press(one), isCareful: true })) : []);
  useKeys(place === 0 ? CHOICE : []);
  const title = titleOf(request);
  const busy = sent.value || !settled.value;
  const form = { name, params: request.params, busy: busy || !mayAccept, send };
  return (
    <section class="request card" aria-label={title} ref={card} tabIndex={0} onFocusIn={notice} onFocusOut={() => (chosen.value = false)} onClick={turnTo}>
      <h2>{title}</h2>
      {children}
      <SubjectView subject={subject} request={request} isWhole={isWhole.value} />
      {isLong && (
        <p>
          Not all is shown{subject.left && `: ${subject.left}`}. <button onClick={() => (isWhole.value = true)}>Show all</button> before you accept it.
        </p>
      )}
      {request.method === QUESTION && <Questions {...form} questions={request.params.questions} />}
      {request.method === ELICITATION && !metaOf(request.params) && <Elicitation {...form} isWhole={isWhole.value} />}
      <Consequences id={request.id} decisions={decisions} />
      <div class="row wrap" ref={row}>
        {decisions.map((one) => (
          <button key={one.key} class={one.kind} disabled={busy || (one.allows && !mayAccept)} onClick={() => send(one.result)}>
            {one.text} <kbd class={keyed ? "wide-only" : "wide-only off"}>{one.key}</kbd>
          </button>
        ))}
      </div>
      {singleKeys.value && (
        // It keeps its place when it is hidden: a press of the mouse chooses the request, and no button moves from under it.
        <p class={chosen.value ? "small quiet wide-only off" : "small quiet wide-only"}>
          To answer with a key, choose this request first: click it, or press <kbd>j</kbd> or <kbd>k</kbd> outside of text fields.
        </p>
      )}
    </section>
  );
}

/** What an answer leads to beyond this request, and until when there is time for one. */
function Consequences({ id, decisions }: { id: number; decisions: readonly Decision[] }) {
  const expiresAtMs = inbox.value?.find((one) => one.id === id)?.expiresAtMs;
  return (
    <ul class="plain-list small quiet">
      {decisions.map(({ key, covers }) => covers && <li key={key}>{covers}</li>)}
      {expiresAtMs !== undefined && <li>Answer until {moment(expiresAtMs)}; then it counts as declined.</li>}
    </ul>
  );
}

/** Keys that choose a request. Nothing else does, so that no key answers a request that the user has not turned to. */
const CHOICE: Key[] = [
  { key: "j", about: "Choose the next request; keys then answer it", act: () => choose(1) },
  { key: "k", about: "Choose the request before", act: () => choose(-1) },
];

/** The request that the focus was passed to. The user has not turned to it: it is not chosen, and no key answers it. */
let passedTo: Element | null = null;

/** Pass the focus on from a request that was answered: to the one behind it, else to where the user writes or the page begins. */
function passFocus(from: HTMLElement): void {
  const active = document.activeElement; // the body once the button that was pressed is disabled
  if (active !== document.body && !from.contains(active)) return;
  const cards = allCards();
  const at = cards.indexOf(from);
  passedTo = cards[at + 1] ?? cards[at - 1] ?? null;
  if (passedTo) (passedTo as HTMLElement).focus();
  else focusPage();
}

/** Move the focus to another request of the page. */
function choose(step: 1 | -1): void {
  const cards = allCards();
  const from = cards.findIndex((one) => one.contains(document.activeElement));
  const to = passedTo && cards[from] === passedTo ? from : from < 0 && step < 0 ? cards.length - 1 : from + step;
  passedTo = null;
  const card = cards[Math.min(Math.max(to, 0), cards.length - 1)];
  if (card === document.activeElement) card?.blur(); // so that it notices
  card?.focus();
}

function allCards(): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>(".request.card")];
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
            {label === "Reason" && <span class="quiet">The agent’s reason: </span>}
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
