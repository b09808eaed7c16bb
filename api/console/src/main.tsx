import { render } from "preact";
import "./style/tokens.css";
import "./style/base.css";
import "./style/layout.css";
import "./style/thread.css";
import "./style/operate.css";
import { finishToasts } from "./state/toasts";
import { App } from "./views/App";
import { drawHarmlessly } from "./views/drawn";
import { Guard } from "./views/Guard";
import { releaseRemoved } from "./views/release";

drawHarmlessly();
releaseRemoved();
addEventListener("pagehide", () => void finishToasts());
render(
  <Guard what="console">
    <App />
  </Guard>,
  document.getElementById("app") as HTMLElement,
);
