/** Components that are drawn anew only when a member of their props is another object. */
import { Component, type ComponentChild, type ComponentClass, createElement, type FunctionComponent } from "preact";

export function memo<Props extends object>(draw: (props: Props) => ComponentChild): ComponentClass<Props> {
  return class extends Component<Props> {
    override shouldComponentUpdate(next: Props): boolean {
      const names = new Set([...Object.keys(this.props), ...Object.keys(next)]) as Set<keyof Props>;
      return [...names].some((name) => this.props[name] !== next[name]);
    }
    override render(): ComponentChild {
      return createElement(draw as FunctionComponent<Props>, this.props as Props);
    }
  };
}
