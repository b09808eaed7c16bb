// An admin adds a user, hands a key over that is shown once, limits the user, and sees what they spent; so does the user.
import { ask, assert, begin, ended, signIn, story, told } from "./browser.mjs";

await story(
  async ({ page, context }) => {
    await signIn(page, "root", "/#/admin/users");
    await page.getByRole("button", { name: "Add a user" }).click();
    await page.keyboard.type("mia b"); // the field has the focus
    await page.keyboard.press("Enter");
    await page.getByText("expected a name of 1 to 64 ASCII letters").waitFor();
    await page.getByLabel("Name", { exact: true }).fill("mia");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "mia" }).waitFor();

    await page.getByText("There is no key yet").waitFor();
    await page.getByLabel("Label").fill("<b>phone</b>");
    await page.getByRole("button", { name: "Create a key" }).click();
    told.keys.mia = await page.getByLabel("The new API key").innerText();
    assert.match(told.keys.mia, /^th_\S{40,}$/);
    await page.getByRole("button", { name: "I have it" }).click();
    await page.locator("tr", { hasText: "<b>phone</b>" }).getByText("valid").waitFor();
    assert.equal((await page.content()).includes(told.keys.mia), false);
    await page.reload();
    await page.locator("tr", { hasText: "<b>phone</b>" }).waitFor();
    assert.equal((await page.content()).includes(told.keys.mia), false);

    await page.getByLabel("turns at once").fill("0x10");
    await page.getByRole("button", { name: "Save limits" }).click();
    assert.equal(await page.getByLabel("turns at once").evaluate((field) => field.validity.patternMismatch), true);
    await page.getByLabel("turns at once").fill("1");
    await page.getByLabel("tokens per day").fill("5000000");
    await page.getByRole("button", { name: "Save limits" }).click();
    await page.getByText("The limits are changed.").waitFor();
    await page.reload();
    await page.getByLabel("turns at once").waitFor();
    assert.deepEqual([await page.getByLabel("turns at once").inputValue(), await page.getByLabel("tokens per day").inputValue()], ["1", "5000000"]);

    const other = await context.browser().newContext();
    const mia = await other.newPage();
    await signIn(mia, "mia");
    await begin(mia, "[[say Hello]]");
    await ended(mia);
    await mia.getByRole("link", { name: "Usage" }).click();
    await mia.getByText("of your budget of today is used").waitFor();
    const tokens = await mia.locator(".facts div", { hasText: "This week" }).locator("strong").innerText();
    assert.ok(Number(tokens) > 0, tokens);

    // What did mia spend this week?
    await page.goto(`${told.url}/#/admin/usage`);
    const row = page.locator("tr", { hasText: "mia" });
    await row.locator(".number", { hasText: tokens }).first().waitFor();
    assert.match(await row.innerText(), /€0\.\d\d/);
    await row.getByRole("link", { name: "mia" }).click();
    const spent = page.getByRole("region", { name: "Spent by model" });
    await spent.locator("tr", { hasText: "mock-model" }).locator(".number", { hasText: tokens }).first().waitFor();
    await page.getByLabel("When").selectOption("Last month");
    await page.getByText("Nothing was spent.").waitFor();

    // The key is revoked with two presses.
    const key = page.locator("tr", { hasText: "<b>phone</b>" });
    await key.getByRole("button", { name: "Revoke" }).click();
    await page.getByLabel("Label").focus(); // a look elsewhere takes nothing back
    await key.getByRole("button", { name: "Keep it" }).click();
    await key.getByRole("button", { name: "Revoke" }).click();
    await page.getByLabel("Label").focus();
    await key.getByText("Really revoke?").click();
    await key.getByText("revoked").waitFor();
    await ask("restartApi"); // as another API process would, it looks the session up
    await mia.reload();
    await mia.getByLabel("API key or token").waitFor();
    await other.close();
  },
  { allowed: ["400", "401", "ERR_", "503"] },
);
