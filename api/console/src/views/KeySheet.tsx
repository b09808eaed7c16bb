import { useEffect, useRef } from "preact/hooks";
import { keysNow } from "../state/keys";
import { singleKeys, type Theme, theme, THEMES } from "../state/preferences";

const IN_COMPOSER = [
  ["Enter", "Send (steer while a turn runs)"],
  ["Alt+Enter", "Queue for the next turn, while one runs"],
  ["Shift+Enter", "New line"],
  ["Escape", "Interrupt the turn, when nothing is written; leave the box, when it asks something"],
];

const THEME_WORDS = { auto: "As the system", light: "Light", dark: "Dark" };

export function KeySheet({ close }: { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const keys = keysNow();
  return (
    <dialog ref={dialog} class="card stack" onClose={close} aria-labelledby="keys-title">
      <h2 id="keys-title">Keys and colours</h2>
      <dl class="keys">
        {keys.map((one) => (
          <div key={one.key}>
            <dt>
              <kbd>{one.key}</kbd>
            </dt>
            <dd>{one.about}</dd>
          </div>
        ))}
        {IN_COMPOSER.map(([key, about]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{about}</dd>
          </div>
        ))}
      </dl>
      <label class="row">
        Colours
        <select value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
          {THEMES.map((name) => (
            <option key={name} value={name}>
              {THEME_WORDS[name]}
            </option>
          ))}
        </select>
      </label>
      <label class="row">
        <input type="checkbox" checked={singleKeys.value} onChange={(event) => (singleKeys.value = event.currentTarget.checked)} />
        Keys work outside of text fields
      </label>
      <form method="dialog">
        <button class="primary">Close</button>
      </form>
    </dialog>
  );
}
