/** A few items of a turn, which are drawn while they are near the window: a thread may have very many. */
import { useSignal } from "@preact/signals";
import { createContext } from "preact";
import { useContext, useEffect, useRef } from "preact/hooks";
import type { Item } from "../protocol/types";
import { Guard } from "./Guard";
import { ItemView } from "./Items";

const NEAR = "1500px 0px"; // above and below the window
const ENDS = /[048c]$/; // of one id in four
const MOST_ITEMS = 16;

/** Tells elements whether they are near the window of what scrolls. */
export interface Near {
  watch(element: Element, tell: (isNear: boolean, height: number) => void): () => void;
  disconnect(): void;
}

export const NearView = createContext<Near | null>(null);

export function watchNear(box: { current: Element | null }): Near {
  const told = new Map<Element, (isNear: boolean, height: number) => void>();
  let observer: IntersectionObserver | null = null;
  const tell = (entries: IntersectionObserverEntry[]) => {
    for (const { target, isIntersecting, boundingClientRect } of entries) told.get(target)?.(isIntersecting, boundingClientRect.height);
  };
  return {
    watch(element, one) {
      observer ??= new IntersectionObserver(tell, { root: box.current, rootMargin: NEAR });
      told.set(element, one);
      observer.observe(element);
      return () => (told.delete(element), observer?.unobserve(element));
    },
    disconnect: () => observer?.disconnect(),
  };
}

/** Divide items at places that stay when items are added before or behind them: their ids, whose end is random, say where. */
export function inChunks(items: readonly Item[]): Item[][] {
  const chunks: Item[][] = [];
  let isOpen = false;
  for (const item of items) {
    if (isOpen) chunks.at(-1)!.push(item);
    else chunks.push([item]);
    isOpen = !ENDS.test(item.id) && chunks.at(-1)!.length < MOST_ITEMS;
  }
  return chunks;
}

export function Chunk({ items }: { items: readonly Item[] }) {
  const box = useRef<HTMLDivElement>(null);
  const near = useContext(NearView);
  const height = useSignal<number | null>(null); // of the place of items that are not drawn
  const isKept = useRef(false); // somebody has opened or marked something here
  useEffect(
    () =>
      near?.watch(box.current!, (isNear, pixels) => {
        if (isNear) height.value = null;
        else if (pixels > 0 && !isKept.current) height.value = pixels;
      }),
    [near],
  );
  return (
    <div class="chunk" ref={box} style={height.value === null ? undefined : { height: `${height.value}px` }} onFocusIn={() => (isKept.current = true)}>
      {height.value === null &&
        items.map((item) => (
          <Guard key={item.id} what="item" of={item}>
            <ItemView item={item} />
          </Guard>
        ))}
    </div>
  );
}
