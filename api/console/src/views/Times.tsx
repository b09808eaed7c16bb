/** How long each step of a turn took, below its end. */
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { TurnState } from "../state/thread";
import { count, duration } from "./format";
import { stepsOf } from "./steps";
import { visibleLine } from "./visible";

const MOST_STEPS = 500;

export function Times({ turn }: { turn: TurnState }) {
  const isOpen = useSignal(false);
  const steps = useMemo(() => stepsOf(turn.items), [turn.items]);
  const isWhole = turn.items[0]?.type === "userMessage"; // older items may not be loaded yet
  if (!isWhole || steps.every((step) => step.kind === "model")) return null; // the line above says it
  const sum = (kind: "model" | "tool") => duration(steps.filter((step) => step.kind === kind).reduce((ms, step) => ms + step.ms, 0));
  return (
    <details class="times" onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary>
        Model {sum("model")}, tools {sum("tool")}
      </summary>
      {isOpen.value && (
        <ol>
          {steps.slice(0, MOST_STEPS).map((step, index) => (
            <li key={index} class="row">
              <span class="step-time">{duration(step.ms)}</span>
              <span class={step.kind === "tool" ? "path step-name" : "step-name"}>{visibleLine(step.what.slice(0, 200))}</span>
              {step.waitedMs > 0 && <span class="nowrap">after {duration(step.waitedMs)} of waiting</span>}
            </li>
          ))}
          {steps.length > MOST_STEPS && <li>and {count(steps.length - MOST_STEPS)} more</li>}
        </ol>
      )}
    </details>
  );
}
