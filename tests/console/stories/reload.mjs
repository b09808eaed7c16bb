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
  },
  { allowed: ["ERR_"] },
);
