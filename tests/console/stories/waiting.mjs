// A turn that waits says why: the user runs as many turns as they may. The page leads to the turn that is in the way.
import { ask, assert, begin, ended, everyLook, signIn, story, told } from "./browser.mjs";

await story(async ({ page }) => {
  told.keys.wim = await ask("addUser", "wim");
  await ask("limit", "wim", "turns_at_once", 1);
  await signIn(page, "wim");
  await begin(page, "[[say in the way]][[pause nightly]][[say over]]");
  await page.locator(".agent", { hasText: "in the way" }).waitFor();
  const first = page.url();

  await page.getByRole("link", { name: "New thread" }).click();
  await page.getByLabel("What shall the agent do?").fill("[[say at last]]");
  await page.getByRole("button", { name: "Begin" }).click();
  const waits = page.getByRole("status").filter({ hasText: "You run as many turns at once as you may" });
  await waits.getByText("Your message: [[say at last]]").waitFor();
  assert.match(await page.locator(".thread-top .status").innerText(), /^Waiting$/);
  await everyLook(page, "thread-waits");

  await waits.getByRole("link", { name: /in the way/ }).click();
  await page.locator(".agent", { hasText: "in the way" }).waitFor();
  assert.equal(page.url(), first);

  // A turn that ran and waits for a worker says that alone.
  const reason = { cause: "noWorker", why: "No worker takes turns.", running: [], sinceMs: 0 };
  await page.route("**/v2/turn/wait/read", (route) => route.fulfill({ json: { wait: reason } }));
  await page.getByText(reason.why).waitFor();
  assert.match(await page.locator(".thread-top .status").innerText(), /^Waiting$/);
  assert.equal(await page.getByText(/Working for/).count(), 0);
  await page.unroute("**/v2/turn/wait/read");
  await page.getByText(reason.why).waitFor({ state: "detached" });
  await page.getByText(/Working for/).waitFor();
  assert.match(await page.locator(".thread-top .status").innerText(), /^Running$/);

  await page.goBack();
  await waits.waitFor();
  await ask("release", "nightly");
  await page.locator(".agent", { hasText: "at last" }).waitFor();
  await ended(page);
  assert.equal(await waits.count(), 0);
});
