/**
 * Have Preact let go of what is no longer on the page.
 *
 * A component that draws itself anew leaves its parent with the nodes of the time before, and with all that these had
 * drawn. A long thread, most of which is not drawn, would be kept in memory as if it were.
 */
import { options, type VNode } from "preact";

type Node = VNode & { __k?: unknown }; // what it has drawn: Preact's packages share this name

let removed: Node[] = [];

function letGo(): void {
  for (const node of removed) node.__k = null;
  removed = [];
}

export function releaseRemoved(): void {
  const before = options.unmount;
  options.unmount = (node) => {
    before?.(node);
    if (removed.push(node) === 1) queueMicrotask(letGo); // Preact removes its children now
  };
}
