// Whoever types words answers no request with them, wherever the focus is.
import { assert, begin, ended, signIn, story, told } from "./browser.mjs";

const LIST = "list files";
const delay = 350; // for each letter, as a slow writer: longer than what a page needs to draw

await story(async ({ page }) => {
  await signIn(page);
  await begin(page, "[[run touch a.txt]][[say Done.]]", { Approvals: "untrusted" });
  const card = page.locator(".request");
  await card.getByRole("button", { name: "Accept", exact: false }).first().and(page.locator(":enabled")).waitFor();

  // The box has the focus after Begin, New thread, and a thread of the list.
  const area = page.getByLabel("Message to the agent");
  await page.keyboard.type(LIST, { delay });
  assert.equal(await area.inputValue(), LIST);
  await page.getByRole("link", { name: "New thread" }).first().click();
  const first = page.getByLabel("What shall the agent do?");
  await first.waitFor();
  await page.keyboard.type(LIST, { delay });
  assert.equal(await first.inputValue(), LIST);
  await page.locator(".thread-row a").first().click();
  await area.waitFor();
  assert.ok(await area.evaluate((one) => one === document.activeElement));

  // Outside of a box: in the inbox, which the first letter opens; "js" first chooses a request.
  for (const words of [`i${LIST}`, "jsad"]) {
    await page.goto(`${told.url}/#/threads`);
    await page.getByRole("heading", { name: "Pick a thread" }).waitFor();
    await page.keyboard.press("i");
    await card.locator("button:enabled").first().waitFor();
    await page.keyboard.type(words, { delay });
    assert.equal(await card.count(), 1);
  }
  await card.locator("button kbd:not(.off)").first().waitFor();

  // Whoever answers one is with the next one, which no key answers before they turn to it.
  await page.goto(`${told.url}/#/threads`);
  await begin(page, "[[run touch b.txt]][[say Done.]]", { Approvals: "untrusted" });
  await page.getByRole("link", { name: "Inbox" }).click();
  const cardOf = (file) => page.locator(".request", { hasText: file });
  const decline = (file) => cardOf(file).getByRole("button", { name: "Decline", exact: false }).first();
  await cardOf("a.txt").waitFor();
  await decline("b.txt").and(page.locator(":enabled")).press("Enter");
  await page.locator(".request:focus", { hasText: "a.txt" }).waitFor();
  await page.locator(".request:focus button:enabled").first().waitFor();
  await page.keyboard.type("ad", { delay: 800 });
  assert.equal(await page.locator(".request", { hasText: "a.txt" }).count(), 1);
  await page.keyboard.press("j"); // chooses it, and not the one behind it
  await page.locator(".request:focus", { hasText: "a.txt" }).locator("button kbd:not(.off)").first().waitFor();
  await decline("a.txt").click();
  await page.waitForFunction(() => document.activeElement?.tagName === "H1"); // after the last one

  // In a thread it is in the box then.
  await begin(page, "[[run touch c.txt]][[say Done.]]", { Approvals: "untrusted" });
  await decline("c.txt").and(page.locator(":enabled")).press("Enter");
  await cardOf("c.txt").waitFor({ state: "detached" });
  assert.ok(await area.evaluate((one) => one === document.activeElement));
  await page.locator(".thread-row a", { hasText: "a.txt" }).click();
  await ended(page);
  await page.locator(".badge", { hasText: "declined" }).waitFor();
});
