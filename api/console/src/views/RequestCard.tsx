/** What a thread asks a person: may this command run, may this patch be applied, or a question. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { Item, ServerRequest } from "../protocol/types";
import { answer } from "../state/inbox";
import { type Key, useKeys } from "../state/keys";
import { decisionsOf, ELICITATION, metaOf, QUESTION, titleOf } from "./decisions";
import { Elicitation } from "./Elicitation";
import { Diff } from "./Diff";
import { Questions } from "./Questions";

export interface RequestProps {
  request: Pick<ServerRequest, "id" | "method" | "params">;
  item: Item | null;
  /** Whether single keys answer it: the first of a page. */
  keyed: boolean;
  children?: ComponentChildren;
}

export function RequestCard({ request, item, keyed, children }: RequestProps) {
  const sent = useSignal(false);
  const send = (result: object) => {
    if (sent.value) return;
    sent.value = true;
    void answer(request.id, result).then((over) => (sent.value = over));
  };
  const decisions = decisionsOf(request);
  useKeys(keyed ? decisions.map((one): Key => ({ key: one.key, about: one.text, act: () => send(one.result) })) : []);
  const title = titleOf(request);
  return (
    <section class="request card" aria-label={title}>
      <h2>{title}</h2>
      {children}
      <Subject request={request} item={item} />
      {request.method === QUESTION && <Questions questions={request.params.questions} busy={sent.value} send={send} />}
      {request.method === ELICITATION && !metaOf(request.params) && <Elicitation params={request.params} busy={sent.value} send={send} />}
      <div class="row wrap">
        {decisions.map((one) => (
          <button key={one.key} class={one.kind} disabled={sent.value} onClick={() => send(one.result)}>
            {one.text} {keyed && <kbd class="wide-only">{one.key}</kbd>}
          </button>
        ))}
      </div>
    </section>
  );
}

function Subject({ request, item }: Pick<RequestProps, "request" | "item">) {
  const { reason, command, cwd, message } = request.params;
  const toolParams = metaOf(request.params)?.tool_params;
  const changes = item?.type === "fileChange" ? item.changes : [];
  return (
    <>
      {typeof reason === "string" && reason && <p class="verbatim">{reason}</p>}
      {typeof message === "string" && <p class="verbatim">{message}</p>}
      {toolParams !== undefined && (
        <pre class="code" tabIndex={0} aria-label="Arguments">
          {JSON.stringify(toolParams, null, 2).slice(0, 20_000)}
        </pre>
      )}
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
