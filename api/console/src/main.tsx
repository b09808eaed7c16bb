import { render } from "preact";
import "./style/tokens.css";
import "./style/base.css";
import "./style/layout.css";
import "./style/thread.css";
import { finishToasts } from "./state/toasts";
import { App } from "./views/App";

addEventListener("pagehide", finishToasts);
render(<App />, document.getElementById("app") as HTMLElement);
