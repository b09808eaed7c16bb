/** Messages that were sent into the running turn, until the model reads them: each is an item from then on. */
import { useLayoutEffect } from "preact/hooks";
import { forgetRead, steered } from "../state/steered";
import type { TurnState } from "../state/thread";

export function SteeredMessages({ turn }: { turn: TurnState }) {
  useLayoutEffect(() => forgetRead(turn.id, turn.items), [turn.items]);
  const waiting = steered.value.filter((one) => one.turnId === turn.id);
  if (waiting.length === 0) return null;
  return (
    <section class="queue stack" aria-label="Sent messages">
      <p class="small quiet" role="status">
        Sent: the model reads it with its next step, after what runs now.
      </p>
      <ol>
        {waiting.map(({ clientId, text, images }) => (
          <li key={clientId} class="queued-text">
            {text}
            {images > 0 && <span class="quiet small"> {images === 1 ? "1 image" : `${images} images`}</span>}
          </li>
        ))}
      </ol>
    </section>
  );
}
