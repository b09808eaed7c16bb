/**
 * Markdown as elements. A library reads it; what it finds becomes elements of a fixed set, whose content is text.
 *
 * No HTML is made from it at all, so there is none to clean: HTML in a message is shown as it was written.
 */
import { Lexer, type Token, Tokenizer, type Tokens, type TokensList } from "marked";
import type { ComponentChildren } from "preact";
import { memo } from "./memo";

const MOST_DEPTH = 40;
// A text that has more of these is shown as it is.
const MOST_CHARACTERS = 100_000; // the library copies an item of a list at each line of it, which is slow for larger ones
const MOST_CELLS = 5000; // of all tables, each row of which the library fills up
const MOST_STEPS = 20_000_000;

export const Markdown = memo(function Markdown({ text }: { text: string }) {
  const tokens = read(text);
  if (tokens === null) return <div class="markdown verbatim">{text}</div>;
  return <div class="markdown">{blocks(withLevels(tokens), 0)}</div>;
});

/** Read a text. null: that would take too long, or would be too much to draw */
export function read(text: string): Token[] | null {
  if (text.length > MOST_CHARACTERS) return null;
  try {
    return new BoundedLexer().lex(text);
  } catch {
    return null;
  }
}

/** What may have the library look at all that follows it: signs of marks and links, and words that may be addresses. */
const COSTLY = /[*_~`[\]<>()!\\&@]|[!-~]{200,}/g;

/** Gives up before a part whose length and content would take the library too long. Its time grows with their product. */
class BoundedLexer extends Lexer {
  private steps = 0;
  private depth = 0;

  constructor() {
    super({ gfm: true, tokenizer: new BoundedTokenizer() });
  }

  override blockTokens<List extends Token[] = TokensList>(src: string, tokens?: List, clipped?: boolean): List {
    const isItem = !this.state.top; // each line of a list's item is read with all lines behind it
    return this.bounded(isItem ? src.length * src.split("\n").length : src.length, () => super.blockTokens(src, tokens, clipped) as List);
  }

  override inlineTokens(src: string, tokens?: Token[]): Token[] {
    let costly = 0;
    for (const [found] of src.matchAll(COSTLY)) costly += found.length;
    return this.bounded(src.length * costly, () => super.inlineTokens(src, tokens));
  }

  private bounded<Result>(steps: number, act: () => Result): Result {
    this.steps += steps;
    if (this.steps > MOST_STEPS || this.depth >= MOST_DEPTH) throw new Error("This text takes too long to read.");
    this.depth++;
    const result = act();
    this.depth--;
    return result;
  }
}

class BoundedTokenizer extends Tokenizer {
  private cells = 0;

  override table(src: string): Tokens.Table | undefined {
    const [whole, head, marks] = this.rules.block.table.exec(src) ?? [];
    if (whole !== undefined && /[|:]/.test(marks!)) this.cells += head!.split("|").length * whole.split("\n").length;
    if (this.cells > MOST_CELLS) throw new Error("These are too many cells to draw.");
    return super.table(src);
  }
}

/** Give headings levels that begin below the page's own and leave none out, whatever the text has. */
export function withLevels(tokens: Token[]): Token[] {
  const depths = [...new Set(tokens.flatMap((token) => (token.type === "heading" ? [token.depth as number] : [])))].sort();
  let last = 1;
  return tokens.map((token) => {
    if (token.type !== "heading") return token;
    last = Math.min(depths.indexOf(token.depth) + 2, last + 1);
    return { ...token, level: last };
  });
}

function blocks(tokens: readonly Token[], depth: number): ComponentChildren {
  if (depth > MOST_DEPTH) return tokens.map((token) => token.raw).join("");
  return tokens.map((token, index) => <Block key={index} token={token} depth={depth} />);
}

function Block({ token, depth }: { token: Token; depth: number }) {
  const inside = (tokens: Token[] | undefined) => inline(tokens ?? [], depth + 1);
  switch (token.type) {
    case "heading": {
      if (!("level" in token)) return <p class="heading">{inside(token.tokens)}</p>; // within a quotation or a list
      const Heading = `h${Math.min(6, token.level)}` as "h2";
      return <Heading>{inside(token.tokens)}</Heading>;
    }
    case "paragraph":
      return <p>{inside(token.tokens)}</p>;
    case "text":
      return <>{token.tokens ? inside(token.tokens) : unescaped(token.text)}</>;
    case "code":
      return (
        <pre class="code" tabIndex={0}>
          <code>{token.text}</code>
        </pre>
      );
    case "blockquote":
      return <blockquote>{blocks(token.tokens ?? [], depth + 1)}</blockquote>;
    case "list":
      return <List list={token as Tokens.List} depth={depth} />;
    case "table":
      return <Table table={token as Tokens.Table} depth={depth} />;
    case "hr":
      return <hr />;
    case "space":
    case "def":
      return null;
    default:
      return <p class="verbatim">{token.raw}</p>;
  }
}

function List({ list, depth }: { list: Tokens.List; depth: number }) {
  const items = list.items.map((item, index) => (
    <li key={index} class={item.task ? "task" : undefined}>
      {item.task && <input type="checkbox" checked={item.checked} disabled aria-label={item.checked ? "Done" : "Not done"} />}
      {blocks(item.tokens.filter((token) => token.type !== "checkbox"), depth + 1)}
    </li>
  ));
  return list.ordered ? <ol start={list.start === "" ? 1 : list.start}>{items}</ol> : <ul>{items}</ul>;
}

function Table({ table, depth }: { table: Tokens.Table; depth: number }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table">
      <table>
        <thead>
          <tr>
            {table.header.map((cell, index) => (
              <th key={index} scope="col">
                {inline(cell.tokens, depth + 1)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, index) => (
            <tr key={index}>
              {row.map((cell, column) => (
                <td key={column}>{inline(cell.tokens, depth + 1)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inline(tokens: readonly Token[], depth: number): ComponentChildren {
  if (depth > MOST_DEPTH) return tokens.map((token) => token.raw).join("");
  return tokens.map((token, index) => <Inline key={index} token={token} depth={depth} />);
}

function Inline({ token, depth }: { token: Token; depth: number }) {
  const inside = () => inline(("tokens" in token && token.tokens) || [], depth + 1);
  switch (token.type) {
    case "strong":
      return <strong>{inside()}</strong>;
    case "em":
      return <em>{inside()}</em>;
    case "del":
      return <del>{inside()}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
      return <Link href={token.href}>{inside()}</Link>;
    case "image": // shown as a link: an image of another server would tell it who reads this
      return <Link href={token.href}>{unescaped(token.text) || token.href}</Link>;
    case "text":
      return <>{"tokens" in token && token.tokens ? inside() : unescaped(token.text)}</>;
    case "escape":
      return <>{token.text}</>;
    default:
      return <>{token.raw}</>;
  }
}

/** A link that leaves the page; what is no web or mail address is text. */
export function Link({ href, children }: { href: string; children: ComponentChildren }) {
  const address = safeAddress(href);
  if (address === null) return <span title={href}>{children}</span>;
  return (
    <a href={address} target="_blank" rel="noopener noreferrer nofollow" title={address}>
      {children}
    </a>
  );
}

export function safeAddress(href: string): string | null {
  let url: URL;
  try {
    url = new URL(href);
  } catch {
    return null;
  }
  return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", hellip: "…", mdash: "—", ndash: "–" };

/** Return the text with its character references replaced, as a browser would. */
export function unescaped(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|(\w{2,8}));/g, (whole, decimal, hex, name) => {
    if (name) return ENTITIES[name] ?? whole;
    const code = decimal ? parseInt(decimal, 10) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) ? String.fromCodePoint(code) : "\ufffd";
  });
}
