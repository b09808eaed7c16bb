// Ten threads on a page each, while models write: how long frames take, and what the pages keep in memory.
import { ask, signIn, story, told } from "./browser.mjs";

const SAMPLE_SECONDS = 20;

/** Note in the page how long each frame took, in milliseconds. */
function noteFrames() {
  window.frames_ms = [];
  let last = performance.now();
  const note = (now) => {
    window.frames_ms.push(now - last);
    last = now;
    requestAnimationFrame(note);
  };
  requestAnimationFrame(note);
}

async function heapMebibytes(session) {
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  return usedSize / 2 ** 20;
}

await story(async ({ page, context }) => {
  await signIn(page);
  const cookies = await context.cookies();
  const pages = [];
  for (const threadId of told.threads) {
    // A context of its own has connections of its own, as a browser on another machine.
    const own = await context.browser().newContext({ viewport: { width: 1280, height: 800 } });
    await own.addCookies(cookies);
    const opened = await own.newPage();
    await opened.goto(`${told.url}/#/threads/${threadId}`);
    await opened.locator(".transcript").waitFor();
    pages.push([opened, await own.newCDPSession(opened)]);
  }
  await ask("begin");
  await Promise.all(pages.map(([opened]) => opened.locator(".item.agent").first().waitFor()));
  for (const [opened] of pages) await opened.evaluate(noteFrames);
  const heaps = [];
  const frames = [];
  const end = Date.now() + told.seconds * 1000;
  while (Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, Math.min(SAMPLE_SECONDS * 1000, end - Date.now())));
    frames.push((await Promise.all(pages.map(([opened]) => opened.evaluate(() => window.frames_ms.splice(0))))).flat());
    heaps.push(await Promise.all(pages.map(([, session]) => heapMebibytes(session))));
    await Promise.all(pages.map(([opened]) => opened.evaluate(() => void window.frames_ms.splice(0)))); // not the collection
  }
  const items = await Promise.all(pages.map(([opened]) => opened.locator(".item").count()));
  return { heaps, frames, items };
});
