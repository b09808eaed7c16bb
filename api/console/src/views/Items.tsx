/** The items of a turn, one view per kind. Whatever an item contains is shown as text. */
import { useContext } from "preact/hooks";
import type { Item, ItemOf } from "../protocol/types";
import { ansiPieces } from "./ansi";
import { Cwd, Diff } from "./Diff";
import { duration } from "./format";
import { Markdown } from "./Markdown";
import { memo } from "./memo";

const IMAGE_DATA = /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/;

export const ItemView = memo(function ItemView({ item }: { item: Item }) {
  switch (item.type) {
    case "userMessage":
      return <UserMessage item={item} />;
    case "agentMessage":
      return (
        <div class="item agent">
          <Markdown text={item.text} />
        </div>
      );
    case "reasoning":
      return <Reasoning item={item} />;
    case "commandExecution":
      return <Command item={item} />;
    case "fileChange":
      return <Changes item={item} />;
    case "plan":
      return (
        <div class="item card">
          <strong class="small">Proposed plan</strong>
          <Markdown text={item.text} />
        </div>
      );
    case "imageView":
      return <p class="item line small">Looked at the image {item.path}</p>;
    case "enteredReviewMode":
      return <p class="item line small">Review began: {item.review}</p>;
    case "exitedReviewMode":
      return (
        <div class="item card">
          <strong class="small">Review</strong>
          <Markdown text={item.review} />
        </div>
      );
    case "contextCompaction":
      return <p class="item line small">The history was replaced by a summary here, to make room.</p>;
    default:
      return <Other item={item} />;
  }
});

function UserMessage({ item }: { item: ItemOf<"userMessage"> }) {
  return (
    <div class="item user">
      <span class="unseen">You:</span>
      {item.content.map((part, index) => {
        if (part.type === "text") return <div key={index}>{part.text}</div>;
        if (part.type === "image" && IMAGE_DATA.test(part.url)) return <img key={index} src={part.url} alt="Image of the message" />;
        return (
          <div key={index} class="small quiet">
            {part.type === "image" ? "An image at " : part.type === "localImage" ? "The image " : "Mentioned: "}
            {"url" in part ? part.url.slice(0, 200) : part.path}
          </div>
        );
      })}
    </div>
  );
}

function Reasoning({ item }: { item: ItemOf<"reasoning"> }) {
  const parts = item.summary.length ? item.summary : item.content;
  const text = parts.join("\n\n").trim();
  if (!text) return null;
  const first = text.split("\n")[0]?.replace(/[*#_`]/g, "").slice(0, 120);
  return (
    <details class="item reasoning">
      <summary class="small">
        {item.completedAtMs === null ? "Thinking" : "Thought"}: {first}
      </summary>
      <Markdown text={text} />
    </details>
  );
}

const COMMAND_WORDS = { inProgress: "running", completed: "exit 0", failed: "failed", declined: "declined" };

function Command({ item }: { item: ItemOf<"commandExecution"> }) {
  const isWaiting = item.status === "inProgress" && item.processId === null;
  const result = item.exitCode !== null ? `exit ${item.exitCode}` : isWaiting ? "not begun" : COMMAND_WORDS[item.status];
  const output = item.aggregatedOutput ?? "";
  const cwd = useContext(Cwd);
  return (
    <details class={`item command ${item.status}`} open={item.status === "inProgress" || item.status === "failed"}>
      <summary>
        <code class="command-line">{item.command}</code>
        <span class={`badge ${item.status}`}>{result}</span>
        <span class="small quiet">{duration(item.durationMs)}</span>
      </summary>
      {output ? (
        <pre class="terminal" tabIndex={0} aria-label="Output">
          {ansiPieces(output).map((piece, index) => (
            <span key={index} class={piece.classes || undefined}>
              {piece.text}
            </span>
          ))}
        </pre>
      ) : (
        <p class="small quiet">{item.status === "inProgress" ? "No output yet." : "No output."}</p>
      )}
      {cwd !== item.cwd && <p class="small quiet path">{item.cwd}</p>}
    </details>
  );
}

const CHANGE_WORDS = { inProgress: "proposed", completed: "applied", failed: "failed", declined: "declined" };

function Changes({ item }: { item: ItemOf<"fileChange"> }) {
  return (
    <div class="item changes">
      <span class={`badge ${item.status}`}>{CHANGE_WORDS[item.status]}</span>
      {item.changes.map((change) => (
        <Diff key={change.path} change={change} open={item.changes.length <= 5} />
      ))}
    </div>
  );
}

/** A call of a client's tool, or a kind of item that this page does not know. */
function Other({ item }: { item: Item }) {
  const { type, id: _, startedAtMs: __, completedAtMs: ___, ...members } = item as Item & { tool?: string; server?: string; durationMs?: number | null };
  const name = [members.server, members.tool].filter((part) => typeof part === "string").join(" · ");
  return (
    <details class="item command">
      <summary>
        <code class="command-line">{name || type}</code>
        {"status" in members && typeof members.status === "string" && <span class={`badge ${members.status}`}>{members.status}</span>}
        <span class="small quiet">{duration(members.durationMs ?? null)}</span>
      </summary>
      <pre class="terminal" tabIndex={0} aria-label="Details">
        {JSON.stringify(members, null, 2).slice(0, 20_000)}
      </pre>
    </details>
  );
}
