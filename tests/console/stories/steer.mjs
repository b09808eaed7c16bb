import { ask, assert, begin, ended, signIn, story, write } from "./browser.mjs";

await story(async ({ page }) => {
  await signIn(page);
  await begin(page, "[[say so far]][[pause steered]][[say never]]");
  await page.locator(".agent", { hasText: "so far" }).waitFor();

  await write(page, "[[say Turned.]]");
  await page.locator(".agent", { hasText: "Turned." }).waitFor();
  await ended(page);
  assert.equal(await page.locator(".turn").count(), 1);
  assert.equal(await page.locator(".agent", { hasText: "never" }).count(), 0);

  await write(page, "[[say again]][[pause stopped]][[say never]]");
  await page.locator(".agent", { hasText: "again" }).waitFor();
  await ask("reached", "stopped");
  await page.getByLabel("Message to the agent").press("Escape");
  await ended(page, "Interrupted");

  await write(page, "and on");
  await page.getByText("You said: and on").waitFor();
  await ended(page);
  assert.equal(await page.locator(".turn").count(), 3);
});
