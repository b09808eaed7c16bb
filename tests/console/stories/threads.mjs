import { accessible, assert, begin, ended, signIn, story } from "./browser.mjs";

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

  // The menu closes with Escape, and when one turns to something else.
  const menu = page.getByLabel("Actions for alpha pear");
  const opened = page.locator(".menu[open]");
  const away = [() => page.keyboard.press("Escape"), () => page.locator(".top .brand").click(), () => rows.first().locator("a").press("Enter")];
  for (const turn of away) {
    await menu.click();
    await opened.waitFor();
    await turn();
    await opened.waitFor({ state: "detached" });
  }
  await page.locator(".composer textarea:focus").waitFor();

  // The focus stays at the row, or goes to the next one.
  const pear = rows.filter({ hasText: "alpha pear" });
  for (const key of ["Escape", "Enter"]) {
    await menu.click();
    await page.getByRole("button", { name: "Rename" }).click();
    await page.getByLabel("Name of the thread").press(key);
    await pear.locator("a:focus").waitFor();
  }
  await menu.click();
  await page.getByRole("button", { name: "Archive" }).click();
  await rows.nth(1).waitFor({ state: "detached" });
  await rows.first().locator("a:focus").waitFor();
  await page.getByLabel("Archived").check();
  await page.locator(".thread-row", { hasText: "alpha pear" }).waitFor();

  // Its page says so, and takes no message until it is unarchived.
  await page.locator(".thread-row a", { hasText: "alpha pear" }).click();
  await page.locator(".thread-top .status", { hasText: "Archived" }).waitFor();
  assert.equal(await page.getByLabel("Message to the agent").count(), 0);
  await accessible(page, "thread-archived");
  await page.getByRole("button", { name: "Unarchive" }).last().click();
  await page.getByLabel("Message to the agent").waitFor();
  await page.locator(".thread-top .status", { hasText: "Idle" }).waitFor();
  await rows.nth(0).waitFor({ state: "detached" });
  await page.getByLabel("Archived").uncheck();
  await page.locator(".thread-row", { hasText: "alpha pear" }).waitFor();
}, { allowed: ["409"] }); // the session of an archived thread
