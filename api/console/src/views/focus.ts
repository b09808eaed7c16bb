/** Where the next key goes when a page opens, and when what had the focus is gone. */
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { isTyping } from "../state/keys";

/** Return the ref of the box that takes the focus when its page opens, unless the user is in another box or a menu, or a keyboard would pop up. */
export function useFirstFocus<Box extends HTMLElement>(): RefObject<Box | null> {
  const box = useRef<Box>(null);
  useLayoutEffect(() => {
    if (hasTouch() || isTyping(document.activeElement) || document.querySelector("dialog:modal, .menu[open]")) return;
    box.current?.focus();
  }, []);
  return box;
}

/** Give the focus to the box where the user writes to a thread, or to the heading of the page. */
export function focusPage(): void {
  const page = document.getElementById("page");
  const box = hasTouch() ? null : page?.querySelector<HTMLElement>(".composer textarea");
  const place = box ?? page?.querySelector<HTMLElement>("h1");
  if (!place) return;
  if (!box) place.tabIndex = -1;
  place.focus({ preventScroll: true });
}

/** A box that takes the focus has a keyboard pop up. */
function hasTouch(): boolean {
  return matchMedia("(pointer: coarse)").matches;
}
