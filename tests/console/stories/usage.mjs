// A user sees on one page what they spent this week, on which models, and what it cost; where there is no price, it says so.
import { ask, assert, everyLook, signIn, story, told } from "./browser.mjs";

const week = (page) => page.locator(".facts div", { hasText: "This week" });

await story(async ({ page, context }) => {
  told.keys.una = await ask("addUser", "una");
  await ask("spend", "una", "mock-model", 1000, 100);
  await ask("spend", "una", "no-price-model", 400, 100);
  await signIn(page, "una");
  await page.getByRole("link", { name: "Usage" }).click();
  await week(page).getByText("1,600").waitFor();
  await week(page).getByText("€1.20").waitFor();

  const models = page.getByRole("region", { name: "Spent by model" });
  assert.match(await models.locator("tr", { hasText: "mock-model" }).innerText(), /1,100\s+€1\.20\s+1,000\s+0\s+100/);
  assert.match(await models.locator("tr", { hasText: "no-price-model" }).innerText(), /500\s+no price/);
  assert.match(await models.locator("tfoot tr").innerText(), /^This week.*1,600\s+€1\.20/s);
  await page.getByText("500 of these tokens have no price and are not in the cost").waitFor();
  await page.getByLabel("When").selectOption("Last week");
  await page.getByText("Nothing was spent.").waitFor();
  await page.getByLabel("When").selectOption("This week");
  assert.match(await page.getByRole("region", { name: "Spent by time" }).innerText(), /1,600\s+€1\.20/);
  await everyLook(page, "usage-models");

  told.keys.vic = await ask("addUser", "vic");
  await ask("spend", "vic", "no-price-model", 400, 100);
  const other = await context.browser().newContext();
  const vic = await other.newPage();
  await signIn(vic, "vic", "/#/usage");
  await week(vic).getByText("no price").waitFor();
  await vic.getByText("None of these tokens has a price, so what they cost is not known: your operator can name their models").waitFor();
  await other.close();
});
