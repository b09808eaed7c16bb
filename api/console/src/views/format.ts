/** Times and numbers for people: one way to write each, on all pages. */
import { serverNowMs } from "../protocol/clock";

/** Return how long ago a moment was: "just now", "5 min ago", later the day. ms: Unix milliseconds */
export function since(ms: number, nowMs = serverNowMs()): string {
  const seconds = Math.max(0, nowMs - ms) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 86_400 * 30) return `${Math.floor(seconds / 86_400)} d ago`;
  return moment(ms).slice(0, 10);
}

/** The same where each second counts: "12 s ago". */
export function sinceSecond(ms: number, nowMs = serverNowMs()): string {
  const seconds = Math.floor(Math.max(0, nowMs - ms) / 1000);
  return seconds < 60 ? `${seconds} s ago` : since(ms, nowMs);
}

/** Return a moment in the viewer's time zone: "2026-11-30 01:02". */
export function moment(ms: number): string {
  return second(ms).slice(0, 16);
}

/** The same with seconds. */
export function second(ms: number): string {
  const at = new Date(ms);
  const [day, time] = [
    [at.getFullYear(), at.getMonth() + 1, at.getDate()],
    [at.getHours(), at.getMinutes(), at.getSeconds()],
  ].map((parts) => parts.map((part) => String(part).padStart(2, "0")));
  return `${day!.join("-")} ${time!.join(":")}`;
}

export function duration(ms: number | null): string {
  if (ms === null) return "";
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function count(number: number): string {
  return number.toLocaleString("en");
}

/** Return a number with what is counted: "1 turn", "2,000 turns". one: its singular, which ends with an s for more */
export function plural(number: number, one: string): string {
  return `${count(number)} ${one}${number === 1 ? "" : "s"}`;
}

/** Return the end of a path, which says most; a long name in it is cut. */
export function shortPath(path: string): string {
  const parts = path.split("/").filter(Boolean);
  const end = parts.slice(-2).map((part) => (part.length > 24 ? `${part.slice(0, 8)}…` : part));
  return (parts.length > 2 ? "…/" : "/") + end.join("/");
}

/** Return what an error says: of a provider's answer in JSON its message, otherwise the text itself. */
export function sentenceOf(error: string): string {
  try {
    const { error: inside } = JSON.parse(error);
    if (typeof inside?.message === "string" && inside.message) return `The model's provider answered: ${inside.message}`;
  } catch {
    // it is no JSON
  }
  return error;
}
