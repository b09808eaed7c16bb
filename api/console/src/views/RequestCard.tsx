/** What a thread asks a person: may this command run, may this patch be applied, or a question. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { Item, ServerRequest } from "../protocol/types";
import { answer } from "../state/inbox";
import { type Key, useKeys } from "../state/keys";
import { Diff } from "./Items";
import { Questions } from "./Questions";

export interface RequestProps {
  request: Pick<ServerRequest, "id" | "method" | "params">;
  item: Item | null;
  /** Whether single keys answer it: the first of a page. */
  keyed: boolean;
  children?: ComponentChildren;
}

interface Decision {
  key: string;
  text: string;
  decision: unknown;
  kind?: string;
}

export function RequestCard({ request, item, keyed, children }: RequestProps) {
  const sent = useSignal(false);
  const send = (result: object) => {
    if (sent.value) return;
    sent.value = true;
    void answer(request.id, result).then((over) => (sent.value = over));
  };
  const decisions = decisionsOf(request);
  useKeys(keyed ? decisions.map((one): Key => ({ key: one.key, about: one.text, act: () => send({ decision: one.decision }) })) : []);
  return (
    <section class="request card" aria-label={titleOf(request.method)}>
      <h2>{titleOf(request.method)}</h2>
      {children}
      <Subject request={request} item={item} />
      {request.method === "item/tool/requestUserInput" ? (
        <Questions questions={request.params.questions} busy={sent.value} send={send} />
      ) : (
        <div class="row wrap">
          {decisions.map((one) => (
            <button key={one.key} class={one.kind} disabled={sent.value} onClick={() => send({ decision: one.decision })}>
              {one.text} {keyed && <kbd class="wide-only">{one.key}</kbd>}
            </button>
          ))}
        </div>
      )}
    </section>
  );
}

function titleOf(method: string): string {
  if (method === "item/commandExecution/requestApproval") return "May this command run?";
  if (method === "item/fileChange/requestApproval") return "May these files be changed?";
  if (method === "item/tool/requestUserInput") return "A question for you";
  return "Another client is asked";
}

function decisionsOf({ method, params }: RequestProps["request"]): Decision[] {
  if (method !== "item/commandExecution/requestApproval" && method !== "item/fileChange/requestApproval") return [];
  const prefix = params.proposedExecpolicyAmendment;
  const amendment: Decision[] =
    Array.isArray(prefix) && prefix.length
      ? [
          {
            key: "p",
            text: `Always allow “${prefix.join(" ").slice(0, 60)}”`,
            decision: { acceptWithExecpolicyAmendment: { execpolicy_amendment: prefix } },
          },
        ]
      : [];
  return [
    { key: "a", text: "Accept", decision: "accept", kind: "primary" },
    { key: "s", text: "Accept in this thread", decision: "acceptForSession" },
    ...amendment,
    { key: "d", text: "Decline", decision: "decline" },
    { key: "x", text: "Decline and stop the turn", decision: "cancel", kind: "danger" },
  ];
}

function Subject({ request, item }: Pick<RequestProps, "request" | "item">) {
  const { reason, command, cwd } = request.params;
  const changes = item?.type === "fileChange" ? item.changes : [];
  return (
    <>
      {typeof reason === "string" && reason && <p class="verbatim">{reason}</p>}
      {typeof command === "string" && (
        <pre class="code" tabIndex={0} aria-label="Command">
          {command}
        </pre>
      )}
      {typeof cwd === "string" && <p class="small quiet path">in {cwd}</p>}
      {changes.map((change) => (
        <Diff key={change.path} change={change} open={changes.length <= 5} />
      ))}
      {request.method === "item/tool/call" && (
        <p class="quiet">The client that has the tool “{String(request.params.tool).slice(0, 100)}” must answer this one.</p>
      )}
    </>
  );
}
