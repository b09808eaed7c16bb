import { ask, assert, begin, ended, signIn, story } from "./browser.mjs";

const words = (from, to) => Array.from({ length: to - from }, (_, index) => `w${from + index}`).join(" ");

await story(
  async ({ page }) => {
    await signIn(page);
    // Three parts of one message: the page is loaded anew after the first, the server is killed after the second.
    const script = `[[say ${words(0, 40)} ]][[pause one]][[say ${words(40, 80)} ]][[pause two]][[say ${words(80, 120)}]]`;
    await begin(page, script);
    await page.getByText("w39").last().waitFor();
    await ask("reached", "one");

    await page.reload();
    await page.locator(".agent", { hasText: "w39" }).waitFor();
    await ask("release", "one");
    await page.locator(".agent", { hasText: "w79" }).waitFor();
    await ask("reached", "two");

    await ask("restartApi");
    await ask("release", "two");
    await ended(page);
    await page.locator(".agent", { hasText: "w119" }).waitFor();
    assert.equal((await page.locator(".agent").innerText()).trim(), words(0, 120));
    await page.reload();
    await ended(page);
    assert.equal((await page.locator(".agent").innerText()).trim(), words(0, 120));

    // A hidden page has no stream; what has happened meanwhile comes when it is shown again.
    await hide(page, true);
    await page.evaluate(start, { threadId: page.url().split("/").pop(), text: "behind" });
    assert.equal(await page.locator(".turn").count(), 1);
    await hide(page, false);
    await page.locator(".agent", { hasText: "You said: behind" }).waitFor();
    await ended(page);
    assert.equal(await page.locator(".turn").count(), 2);
  },
  { allowed: ["ERR_"] },
);

function hide(page, hidden) {
  return page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
}

/** In the page: run a turn to its end, as another client would. */
async function start({ threadId, text }) {
  const response = await fetch("/v2/turn/start", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ threadId, input: [{ type: "text", text }] }),
  });
  await response.text();
}
