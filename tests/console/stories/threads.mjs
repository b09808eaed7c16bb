import { assert, begin, ended, signIn, story } from "./browser.mjs";

await story(async ({ page }) => {
  await signIn(page, "root");
  for (const text of ["alpha apple", "alpha pear", "beta"]) {
    await begin(page, text);
    await ended(page);
  }
  const rows = page.locator(".thread-row");
  await rows.nth(2).waitFor();

  await page.getByLabel("Search threads").fill("alpha");
  await rows.nth(2).waitFor({ state: "detached" });
  assert.equal(await rows.count(), 2);
  await page.getByLabel("Search threads").fill("nothing like this");
  await page.getByText("No thread has").waitFor();
  await page.getByLabel("Search threads").fill("");
  await rows.nth(2).waitFor();

  await page.getByLabel("Actions for beta").click();
  await page.getByRole("button", { name: "Delete" }).click();
  await rows.nth(2).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Undo" }).click();
  await rows.nth(2).waitFor();

  await page.getByLabel("Actions for beta").click();
  await page.getByRole("button", { name: "Delete" }).click();
  const deleted = page.waitForResponse(/thread\/delete/);
  await page.getByRole("button", { name: "Dismiss" }).click();
  await deleted;
  await rows.nth(2).waitFor({ state: "detached" });
  await page.reload();
  await rows.nth(1).waitFor();
  assert.equal(await rows.count(), 2);

  await page.getByLabel("Actions for alpha apple").click();
  await page.getByRole("button", { name: "Fork" }).click();
  await page.waitForURL(/#\/threads\//);
  await page.getByText("You said: alpha apple").waitFor();
  await rows.nth(2).waitFor();
  await page.getByLabel(/^Actions for alpha apple/).first().click();
  await page.locator("details[open]").getByRole("button", { name: "Delete" }).click();
  await rows.nth(2).waitFor({ state: "detached" });

  await page.getByLabel("Actions for alpha pear").click();
  await page.getByRole("button", { name: "Archive" }).click();
  await rows.nth(1).waitFor({ state: "detached" });
  await page.getByLabel("Archived").check();
  await page.locator(".thread-row", { hasText: "alpha pear" }).waitFor();
});
