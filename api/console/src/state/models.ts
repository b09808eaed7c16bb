/** The models that the server offers. */
import { signal } from "@preact/signals";
import { call } from "../protocol/http";
import type { Model } from "../protocol/types";

export const models = signal<readonly Model[]>([]);

export async function loadModels(): Promise<void> {
  try {
    models.value = (await call("model/list", {})).data;
  } catch {
    // Without the list the thread's own model is shown, and can be used.
  }
}
