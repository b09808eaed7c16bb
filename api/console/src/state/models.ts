/** What the server offers for turns: models, and sandboxes. */
import { call } from "../protocol/http";
import type { Model } from "../protocol/types";
import { ofUser } from "./user";

export const models = ofUser<readonly Model[]>([]);
/** Profiles of sandboxes that the user may not ask for. */
export const refusedProfiles = ofUser<readonly string[]>([]);

export async function loadModels(): Promise<void> {
  try {
    models.value = (await call("model/list", {})).data;
  } catch {
    // Without the list the thread's own model is shown, and can be used.
  }
}

export async function loadProfiles(): Promise<void> {
  try {
    refusedProfiles.value = (await call("permissionProfile/list", {})).data.filter((one) => !one.allowed).map((one) => one.id);
  } catch {
    // All are offered then, and the server says which one it refuses.
  }
}
