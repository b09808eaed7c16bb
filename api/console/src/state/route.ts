/** Which page is open, as the part of the address behind `#`. */
import { computed, signal } from "@preact/signals";

export type Route =
  | { page: "threads" }
  | { page: "new" }
  | { page: "thread"; threadId: string; view?: ThreadView }
  | { page: "shared"; secret: string }
  | { page: "inbox" }
  | { page: "usage" }
  | { page: "admin"; tab: AdminTab; id: string | null };

export type ThreadView = "changes" | "files";
const ADMIN_TABS = ["turns", "queue", "workers", "users", "usage", "feedback", "webhooks", "audit", "erasures", "health"] as const;
export type AdminTab = (typeof ADMIN_TABS)[number];

export function parseRoute(hash: string): Route {
  const [page = "", first = "", second = ""] = hash.replace(/^#\/?/, "").split("/").map(decode);
  if (page === "new") return { page };
  if (page === "inbox" || page === "usage") return { page };
  if (page === "shared" && first) return { page, secret: first };
  if (page === "threads" && first) return second === "changes" || second === "files" ? { page: "thread", threadId: first, view: second } : { page: "thread", threadId: first };
  if (page === "admin" && ADMIN_TABS.includes(first as AdminTab)) return { page, tab: first as AdminTab, id: second || null };
  return { page: "threads" };
}

export function pathOf(route: Route): string {
  switch (route.page) {
    case "thread":
      return `#/threads/${encodeURIComponent(route.threadId)}${route.view ? `/${route.view}` : ""}`;
    case "shared":
      return `#/shared/${encodeURIComponent(route.secret)}`;
    case "admin":
      return `#/admin/${route.tab}${route.id ? `/${encodeURIComponent(route.id)}` : ""}`;
    default:
      return `#/${route.page}`;
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const hash = signal(globalThis.location?.hash ?? "");
globalThis.addEventListener?.("hashchange", () => (hash.value = location.hash));

export const route = computed(() => parseRoute(hash.value));

export function go(to: Route): void {
  location.hash = pathOf(to);
}
