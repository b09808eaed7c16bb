import { assert, begin, ended, signIn, story } from "./browser.mjs";

await story(async ({ page, context }) => {
  await signIn(page);
  await begin(page, "[[run echo twice]][[say Both see it.]]", { Approvals: "untrusted" });
  const other = await context.newPage();
  await other.goto(page.url());
  for (const window of [page, other]) await window.getByRole("region", { name: "May this command run?" }).waitFor();

  await other.getByRole("button", { name: "Accept" }).first().click();

  for (const window of [page, other]) {
    await window.locator(".agent", { hasText: "Both see it." }).waitFor();
    await ended(window);
    assert.equal(await window.locator(".request").count(), 0);
  }
  const texts = await Promise.all([page, other].map((window) => window.locator(".turn").innerText()));
  assert.equal(texts[0], texts[1]);

  // The list of one window follows what the other does.
  await page.locator(".thread-row.open").getByLabel(/^Actions for/).click();
  await page.getByRole("button", { name: "Rename" }).click();
  await page.getByLabel("Name of the thread").fill("Renamed here");
  await page.getByLabel("Name of the thread").press("Enter");
  for (const window of [page, other]) await window.getByRole("heading", { name: "Renamed here" }).waitFor();
  await other.locator(".thread-row", { hasText: "Renamed here" }).waitFor();
});
