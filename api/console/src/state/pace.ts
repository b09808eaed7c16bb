/** When a page draws what comes: at once, and then in no more than a third of the time, however slow the machine is. */

const SHORTEST_MS = 66; // between two drawings
const LONGEST_MS = 1000; // so often it is drawn where there are no frames, as on a hidden page

export interface Pace {
  /** Have what came applied. */
  hurry(): void;
  stop(): void;
}

/** Return a pace that calls `apply` once for all that came since the last call. */
export function paceOf(apply: () => void): Pace {
  let timer = 0;
  let next = 0; // the earliest time of the next drawing

  function schedule(): void {
    clearTimeout(timer);
    timer = window.setTimeout(draw, Math.max(0, next - performance.now()));
  }

  function draw(): void {
    timer = 0;
    const begin = performance.now();
    next = begin + LONGEST_MS;
    apply();
    const drawn = () => {
      const took = performance.now() - begin;
      next = begin + Math.min(LONGEST_MS, Math.max(SHORTEST_MS, 3 * took));
      if (timer) schedule();
    };
    requestAnimationFrame(() => setTimeout(drawn)); // a task after the frame: the browser has drawn it
  }

  return {
    hurry: () => void (timer || schedule()),
    stop: () => clearTimeout(timer),
  };
}
