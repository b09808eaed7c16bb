// A thread with very many items: how long it takes to open, and how frames and the page hold while one scrolls through it.
import { picture, signIn, story, told } from "./browser.mjs";

const WHEEL_PIXELS = 1200; // a strong push
const PUSHES = 150;
const BEGINNING_MS = 900_000; // until the beginning has to be there

/** Note in the page how long each frame took, in ms, and what has moved without being scrolled. */
function note() {
  window.shift = 0;
  new PerformanceObserver((list) => list.getEntries().forEach(({ value }) => (window.shift += value))).observe({ type: "layout-shift" });
  window.frames_ms = [];
  let last = performance.now();
  const frame = (now) => {
    window.frames_ms.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

/** Open the thread. Return after how many ms its end is drawn. */
async function open(threadId) {
  const began = performance.now();
  location.hash = `#/threads/${threadId}`;
  while (document.querySelectorAll(".item").length < 5) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame); // the frame before this one is drawn
  return performance.now() - began;
}

/** Jump to the end. Return after how many ms the page stays there. */
async function toLatest() {
  const began = performance.now();
  const box = document.querySelector(".transcript");
  document.querySelector(".to-end").click();
  for (let steady = 0; steady < 3; ) {
    await new Promise(requestAnimationFrame);
    const isThere = box.scrollHeight - box.scrollTop - box.clientHeight < 5;
    steady = isThere ? steady + 1 : 0;
    if (performance.now() - began > 20_000) throw new Error("the end is not reached");
  }
  return performance.now() - began;
}

async function push(page, pixels) {
  for (let times = 0; times < PUSHES; times++) {
    await page.mouse.wheel(0, pixels);
    await page.waitForTimeout(100);
  }
  return page.evaluate(() => window.frames_ms.splice(0));
}

await story(async ({ page, context }) => {
  await signIn(page);
  const openMs = await page.evaluate(open, told.thread);
  await picture(page, "long-open");
  await page.evaluate(note);
  const box = page.locator(".transcript");
  await box.hover();
  const up = await push(page, -WHEEL_PIXELS);
  let shift = await page.evaluate(() => window.shift);
  await picture(page, "long-scrolled");
  const first = page.locator(".item.user", { hasText: "The first answer." });
  const end = Date.now() + BEGINNING_MS;
  await box.focus();
  while (!(await first.count())) {
    if (Date.now() > end) throw new Error("the beginning is not reached");
    await page.keyboard.press("Home");
    await page.waitForTimeout(20);
  }
  await picture(page, "long-beginning");
  await page.evaluate(() => {
    window.frames_ms = [];
    window.shift = 0;
  });
  const down = await push(page, WHEEL_PIXELS);
  shift += await page.evaluate(() => window.shift);
  const session = await context.newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const heap = (await session.send("Runtime.getHeapUsage")).usedSize / 2 ** 20;
  const elements = await page.locator("*").count();
  const latestMs = await page.evaluate(toLatest);
  await picture(page, "long-latest");
  return { openMs, up, down, heap, elements, latestMs, shift };
});
