/** Whether a person can have seen something before they answer it. */
import { type ReadonlySignal, useSignal } from "@preact/signals";
import { type RefObject } from "preact";
import { useEffect, useLayoutEffect } from "preact/hooks";

export const MOMENT_MS = 700;

/** Return whether something has been as it is for a moment, on a page that is seen. what: what it is, and where */
export function useSettled(...what: unknown[]): ReadonlySignal<boolean> {
  const settled = useSignal(false);
  // Before anything is drawn, so that no click meets what was not there a moment ago.
  useLayoutEffect(() => {
    let timer = 0;
    const begin = () => {
      clearTimeout(timer);
      settled.value = false;
      if (!document.hidden) timer = window.setTimeout(() => (settled.value = true), MOMENT_MS);
    };
    begin();
    document.addEventListener("visibilitychange", begin);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", begin);
    };
  }, what);
  return settled;
}

/** Return whether an element is within what the window and the areas that scroll show of the page. */
export function useInView(element: RefObject<HTMLElement | null>): ReadonlySignal<boolean> {
  const inView = useSignal(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => (inView.value = entries.at(-1)!.intersectionRatio > 0.9), { threshold: [0, 0.9, 1] });
    observer.observe(element.current!);
    return () => observer.disconnect();
  }, []);
  return inView;
}
