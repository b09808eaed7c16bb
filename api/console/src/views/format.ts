/** Times and numbers for people. */

/** Return how long ago a moment was. seconds: Unix time */
export function ago(seconds: number | null, nowMs = Date.now()): string {
  if (seconds === null) return "";
  const passed = Math.max(0, nowMs / 1000 - seconds);
  if (passed < 60) return "now";
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  if (passed < 86_400) return `${Math.floor(passed / 3600)} h`;
  if (passed < 86_400 * 30) return `${Math.floor(passed / 86_400)} d`;
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

/** The same for a sentence: "just now", "5 min ago". */
export function since(seconds: number): string {
  const passed = ago(seconds);
  if (passed === "now") return "just now";
  return /^\d+ /.test(passed) ? `${passed} ago` : `on ${passed}`;
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

export function moment(ms: number): string {
  return new Date(ms).toLocaleString();
}

/** Return the end of a path, which says most; a long name in it is cut. */
export function shortPath(path: string): string {
  const parts = path.split("/").filter(Boolean);
  const end = parts.slice(-2).map((part) => (part.length > 24 ? `${part.slice(0, 8)}…` : part));
  return (parts.length > 2 ? "…/" : "/") + end.join("/");
}
