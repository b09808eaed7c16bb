/** What is in a thread's workspace: its changes since the start, its folders and files. Links are never followed. */
import { call, send, ServerError } from "../protocol/http";
import type { Methods } from "../protocol/types";
import { parsePatch, type PatchFile } from "../views/patch";

const MOST_PATCH_BYTES = 4 * 1024 * 1024;
const MOST_TEXT_BYTES = 512 * 1024;

export type Entry = Methods["fs/readDirectory"]["result"]["entries"][number];

export function downloadUrl(threadId: string, format: "diff" | "bundle" | "tar"): string {
  return `/v2/thread/workspace?threadId=${encodeURIComponent(threadId)}&format=${format}`;
}

/** Read the changes; null: they are too large for a page. Errors: ServerError */
export async function readChanges(threadId: string): Promise<readonly PatchFile[] | null> {
  const stopped = new AbortController();
  const response = await send(downloadUrl(threadId, "diff"), { signal: stopped.signal });
  const decoder = new TextDecoder();
  let [text, size] = ["", 0];
  try {
    for await (const chunk of response.body as ReadableStream<Uint8Array>) {
      size += chunk.byteLength;
      if (size > MOST_PATCH_BYTES) {
        stopped.abort();
        return null;
      }
      text += decoder.decode(chunk, { stream: true });
    }
  } catch {
    throw new ServerError("The changes broke off on the way. Try again.", 0);
  }
  return parsePatch(text);
}

/** What was found at a path. text: null: it is shown as no text, for the reason in `note` */
export interface Found {
  bytes: Uint8Array<ArrayBuffer> | null;
  text: string | null;
  note: string | null;
}

/** Read a file. Errors: ServerError */
export async function readFile(path: string): Promise<Found> {
  if (await isLink(path)) return { bytes: null, text: null, note: "A symbolic link. It is not followed here." };
  const { dataBase64 } = await call("fs/readFile", { path });
  const bytes = Uint8Array.from(atob(dataBase64), (character) => character.charCodeAt(0));
  if (bytes.length > MOST_TEXT_BYTES) return { bytes, text: null, note: `Too large to show: ${sizeOf(bytes.length)}. Download it.` };
  const text = textOf(bytes);
  return { bytes, text, note: text === null ? `Not text: ${sizeOf(bytes.length)} of binary data.` : text ? null : "The file is empty." };
}

/** Read a folder. null: it is a symbolic link. Errors: ServerError */
export async function readFolder(path: string, isRoot: boolean): Promise<readonly Entry[] | null> {
  if (!isRoot && (await isLink(path))) return null;
  const { entries } = await call("fs/readDirectory", { path });
  return [...entries].sort((one, other) => Number(other.isDirectory) - Number(one.isDirectory));
}

async function isLink(path: string): Promise<boolean> {
  return (await call("fs/getMetadata", { path })).isSymlink;
}

/** Return the text in UTF-8, or null when it is none. */
export function textOf(bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

export function sizeOf(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1024 * 1024 ? `${Math.round(bytes / 1024)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** Have the browser save bytes as a file. */
export function save(bytes: Uint8Array<ArrayBuffer>, name: string): void {
  const url = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
