/** What an answer of /statusz says, also one that has no checks because the server could not make them. */

/** ok: null when it cannot be known now */
export interface Check {
  name: string;
  ok: boolean | null;
  message: string;
}

export interface Health {
  ok: boolean;
  checks: readonly Check[];
}

const GOES_ON = "Nothing is lost: the workers and the turns go on by themselves afterwards.";
const NEXT: readonly (readonly [word: string, name: string, next: string])[] = [
  ["schema", "database", GOES_ON],
  ["database or Redis", "database, redis", `Start them, or correct THREADHOUSE_DATABASE_URL and THREADHOUSE_REDIS_URL. ${GOES_ON}`],
  ["Redis", "redis", `Start Redis, or correct THREADHOUSE_REDIS_URL. ${GOES_ON}`],
  ["database", "database", `Start the database, or correct THREADHOUSE_DATABASE_URL. ${GOES_ON}`],
];

/** Return what is known. body: of an answer with this status; before: what the last answer said. Errors: Error (a refusal) */
export function healthOf(status: number, body: Partial<Health> & { detail?: string }, before: readonly Check[]): Health {
  if (Array.isArray(body.checks)) return { ok: body.ok === true, checks: body.checks };
  const detail = body.detail ?? `The server answered ${status}. Try again.`;
  if (status !== 503) throw new Error(detail);
  const cause = detail.replace(/^not ready: /, "");
  const [, name, next] = NEXT.find(([word]) => cause.includes(word)) ?? ["", "server", ""];
  const unknown = before.filter((one) => one.name !== name).map((one) => ({ ...one, ok: null }));
  return { ok: false, checks: [{ name, ok: false, message: next ? `${cause}. ${next}` : cause }, ...unknown] };
}
