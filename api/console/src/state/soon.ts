/** Return a function that calls `act` once for all its calls of the next moments: many events ask the server once. */
export function soon(act: () => void, ms: number): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      act();
    }, ms);
  };
}
