/** A browser that has notifications and cannot show them, as Chrome for Android. */
import { expect, test, vi } from "vitest";
import type { WaitingRequest } from "../protocol/types";

const waiting = (id: number) => ({ id, threadId: "t", name: null, preview: "", method: "item/tool/call", params: {} }) as unknown as WaitingRequest;

test("a notification that cannot be shown turns them off, is said to who comes back, and leaves the inbox as it is", async () => {
  const stored = new Map([["notifications", "on"]]);
  let comeBack = () => {};
  class Unable {
    static permission = "granted";
    constructor() {
      throw new TypeError("Illegal constructor.");
    }
  }
  vi.stubGlobal("Notification", Unable);
  vi.stubGlobal("isSecureContext", true);
  vi.stubGlobal("localStorage", { getItem: (key: string) => stored.get(key) ?? null, setItem: (key: string, value: string) => stored.set(key, value) });
  vi.stubGlobal("document", { hasFocus: () => false, addEventListener: () => {}, documentElement: { dataset: {} } });
  vi.stubGlobal("window", { setTimeout, addEventListener: (_: string, act: () => void) => (comeBack = act) });
  let list = [waiting(1)];
  vi.stubGlobal("fetch", async () => Response.json({ data: list }));
  const { inbox, inboxError, loadInbox } = await import("./inbox");
  const { notifications } = await import("./notifications");
  const { toasts } = await import("./toasts");
  expect(notifications.value).toBe("on");

  await loadInbox();
  list = [waiting(1), waiting(2)];
  await loadInbox();

  expect([inbox.value?.length, inboxError.value, notifications.value, stored.get("notifications")]).toEqual([2, null, "unable", "off"]);
  expect(toasts.value).toEqual([]);
  comeBack();
  expect(toasts.value.map(({ text }) => text)).toEqual(["This browser cannot show notifications, so they are off."]);
});
