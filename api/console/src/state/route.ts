/** Which page is open, as the part of the address behind `#`. */
import { computed, signal } from "@preact/signals";

export type Route =
  | { page: "threads" }
  | { page: "new" }
  | { page: "thread"; threadId: string }
  | { page: "inbox" }
  | { page: "admin"; tab: AdminTab; id: string | null };

export type AdminTab = "turns" | "workers" | "users" | "health";
const ADMIN_TABS: readonly string[] = ["turns", "workers", "users", "health"] satisfies AdminTab[];

export function parseRoute(hash: string): Route {
  const [page = "", first = "", second = ""] = hash.replace(/^#\/?/, "").split("/").map(decode);
  if (page === "new") return { page };
  if (page === "inbox") return { page };
  if (page === "threads" && first) return { page: "thread", threadId: first };
  if (page === "admin" && ADMIN_TABS.includes(first)) return { page, tab: first as AdminTab, id: second || null };
  return { page: "threads" };
}

export function pathOf(route: Route): string {
  switch (route.page) {
    case "thread":
      return `#/threads/${encodeURIComponent(route.threadId)}`;
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
