/** The server's time: what it tells of is compared with it, because the clock of a browser's machine may be wrong. */

const IGNORED_MS = 3000; // an answer has whole seconds, and takes a while to come

let aheadMs = 0; // the server's clock, of the browser's

/** Compare the clocks by the header `Date` of an answer. */
export function noteServerTime(header: string | null, ownMs = Date.now()): void {
  const serverMs = header === null ? NaN : Date.parse(header);
  if (Number.isNaN(serverMs)) return;
  aheadMs = Math.abs(serverMs - ownMs) > IGNORED_MS ? serverMs - ownMs : 0;
}

/** Return the server's time now, in Unix ms. */
export function serverNowMs(ownMs = Date.now()): number {
  return ownMs + aheadMs;
}
