// A turn that an admin gives to another worker says again what it had begun to say: the first attempt does not stay.
import { ask, assert, begin, ended, signIn, story, told } from "./browser.mjs";

await story(async ({ page, context }) => {
  await signIn(page, "root");
  await begin(page, "[[say alpha beta]][[pause away]][[say gamma]]");
  await page.locator(".agent", { hasText: "alpha beta" }).waitFor();
  await ask("reached", "away");
  await page.locator(".agent").evaluate((torn) => (torn.dataset.torn = "yes"));

  const admin = await context.newPage();
  await admin.goto(`${told.url}/#/admin/turns`);
  await admin.getByRole("link", { name: "Timeline" }).first().click();
  await admin.getByRole("button", { name: "Give to another worker" }).click();
  await admin.getByRole("button", { name: "Really give to another worker?" }).click();
  await admin.getByText("Another worker takes the turn.").waitFor();

  await page.locator(".agent:not([data-torn])", { hasText: "alpha beta" }).waitFor();
  assert.equal(await page.locator(".agent").count(), 1); // while the turn goes on
  await ask("release", "away");
  await ended(page);
  assert.equal(await page.locator(".agent").count(), 1);
});
