/** What cannot be drawn says so in its place, and the rest of the page goes on. */
import { Component, type ComponentChildren } from "preact";
import { messageOf } from "../protocol/http";

interface Props {
  /** What is drawn inside, for a sentence: "request". */
  what: string;
  /** What it is drawn from: when it changes, drawing is tried again. */
  of?: unknown;
  children: ComponentChildren;
}

interface State {
  /** null: nothing has failed. */
  problem: { message: string; of: unknown } | null;
}

export class Guard extends Component<Props, State> {
  override state: State = { problem: null };

  override componentDidCatch(error: unknown): void {
    this.setState({ problem: { message: messageOf(error), of: this.props.of } });
  }

  override render({ what, of, children }: Props, { problem }: State): ComponentChildren {
    if (problem === null || problem.of !== of) return children;
    return (
      <p class="card error" role="alert">
        This {what} cannot be shown: {problem.message.slice(0, 300)}{" "}
        <button onClick={() => this.setState({ problem: null })}>Try again</button>
      </p>
    );
  }
}
