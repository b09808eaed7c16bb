/** Short messages in the room that the header has, where they cover nothing that one may want to press. */
import { dismiss, toasts } from "../state/toasts";

export function Toasts() {
  return (
    <div class="toasts-place">
      <div class="toasts" role="status" aria-live="polite">
        {toasts.value.map((toast) => (
          <div key={toast.id} class={`toast ${toast.kind}`}>
            <span>{toast.text}</span>
            {toast.undo && <button onClick={toast.undo}>Undo</button>}
            <button class="plain" aria-label="Dismiss" onClick={() => dismiss(toast.id)}>
              ×
            </button>
          </div>
        ))}
      </div>
    </div>
  );
}
