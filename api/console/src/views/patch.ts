/** The files of a patch as git writes it: what changed in a workspace since its start. */
import { type DiffLine, hunkLines } from "./diff";

export interface PatchFile {
  path: string;
  /** The path before, when the file was moved. */
  from: string | null;
  kind: "add" | "delete" | "update";
  isBinary: boolean;
  isLink: boolean;
  lines: DiffLine[];
}

/** Return the files of a patch. A line of content never begins with "diff", because each begins with a sign. */
export function parsePatch(text: string): PatchFile[] {
  const files: PatchFile[] = [];
  let block: string[] = [];
  const finish = () => block.length && files.push(readFile(block));
  for (const line of text.split("\n")) {
    if (line.startsWith("diff --git ")) {
      finish();
      block = [];
    }
    if (line.startsWith("diff --git ") || block.length) block.push(line);
  }
  finish();
  return files;
}

function readFile(block: readonly string[]): PatchFile {
  const begin = block.findIndex((line) => line.startsWith("@@ "));
  const head = begin < 0 ? block : block.slice(0, begin);
  const value = (prefix: string) => head.find((line) => line.startsWith(prefix))?.slice(prefix.length);
  const file = (prefix: string) => {
    const name = unquoted((value(prefix) ?? "/dev/null").replace(/\t$/, ""));
    return name === "/dev/null" ? null : name.slice(2);
  };
  const from = value("rename from ");
  const kind = value("new file mode ") !== undefined ? "add" : value("deleted file mode ") !== undefined ? "delete" : "update";
  return {
    path: unquoted(value("rename to ") ?? "") || (file("+++ ") ?? file("--- ") ?? pathOfHead(head[0] ?? "")),
    from: from === undefined ? null : unquoted(from),
    kind,
    isBinary: head.some((line) => line === "GIT binary patch" || /^Binary files .* differ$/.test(line)),
    isLink: head.some((line) => /^(new file mode|deleted file mode|new mode|index \S+) ?120000$/.test(line)),
    lines: begin < 0 ? [] : hunkLines(block.slice(begin, block.at(-1) === "" ? -1 : undefined)),
  };
}

/** Return the path in `diff --git a/PATH b/PATH`, which names the same file twice. */
function pathOfHead(line: string): string {
  const names = line.slice("diff --git ".length);
  return unquoted(names.slice((names.length + 1) / 2)).slice(2);
}

const ESCAPES: Record<string, number> = { a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13 };

/** Return a name that git has put in quotes because of unusual characters in it. */
function unquoted(name: string): string {
  if (!/^".*"$/s.test(name)) return name;
  const bytes: number[] = [];
  for (const [, octal, escaped, plain] of name.slice(1, -1).matchAll(/\\([0-7]{3})|\\(.)|([^\\]+)/gs)) {
    if (octal) bytes.push(parseInt(octal, 8));
    else bytes.push(...(escaped && ESCAPES[escaped] ? [ESCAPES[escaped]] : new TextEncoder().encode(escaped ?? plain)));
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}
