/**
 * All text that the page draws goes through here, whichever view draws it and whoever wrote it.
 *
 * So no view can forget it: a title, a file's name or an output cannot reorder or hide what stands beside it.
 */
import { type ComponentChildren, options, type VNode } from "preact";
import { harmless } from "./visible";

const ATTRIBUTES = ["title", "aria-label", "alt", "placeholder"] as const; // that are shown or read out

/** Have all text drawn harmlessly from now on. */
export function drawHarmlessly(): void {
  const before = options.vnode;
  options.vnode = (vnode) => {
    const props = vnode.props as { children?: ComponentChildren } & Partial<Record<(typeof ATTRIBUTES)[number], unknown>>;
    if (props.children !== undefined) props.children = drawn(props.children);
    if (typeof (vnode as VNode).type === "string") {
      for (const name of ATTRIBUTES) {
        const text = props[name];
        if (typeof text === "string") props[name] = harmless(text);
      }
    }
    before?.(vnode);
  };
}

function drawn(children: ComponentChildren): ComponentChildren {
  if (typeof children === "string") return harmless(children);
  if (!Array.isArray(children)) return children;
  return children.some((child) => drawn(child) !== child) ? children.map(drawn) : children;
}
