// An admin finds why a turn of another user waits, stops it, and locks the user out; a member sees none of it.
import { ask, assert, begin, ended, signIn, story, told } from "./browser.mjs";

await story(
  async ({ page, context }) => {
    told.keys.lin = await ask("addUser", "lin");
    await signIn(page, "lin");
    assert.equal(await page.getByRole("link", { name: "Operate" }).count(), 0);
    await page.goto(`${told.url}/#/admin/turns`);
    await page.getByText("Only admins may see this page").waitFor();
    await begin(page, "[[run touch waits.txt]]", { Approvals: "untrusted" });
    await page.locator(".request").waitFor();

    const other = await context.browser().newContext();
    const admin = await other.newPage();
    await signIn(admin, "root", "/#/admin/turns");
    const row = admin.locator("tr").filter({ has: admin.getByRole("link", { name: "lin", exact: true }) }); // "declined" has these letters too
    await row.getByText("parked").waitFor();
    await row.getByText("it waits for an answer to item/commandExecution/requestApproval").waitFor();
    await row.getByRole("link", { name: "Timeline" }).click();
    await admin.getByText("claimed for the first time").waitFor();
    assert.equal((await admin.locator("body").innerText()).includes("waits.txt"), false);
    await admin.getByRole("button", { name: "Give to another worker" }).click();
    await admin.getByRole("button", { name: "Leave it there" }).click();
    await admin.getByRole("button", { name: "Stop" }).click();
    assert.equal(await page.locator(".request").count(), 1); // it asks first
    await admin.getByRole("button", { name: "Really stop?" }).click();
    await ended(page, "Interrupted");
    await admin.locator("strong", { hasText: "interrupted" }).waitFor();
    assert.equal(await page.locator(".request").count(), 0);

    // The turn has ended, and is found among those that have.
    await admin.getByRole("link", { name: "All turns" }).click();
    await admin.getByLabel("State").selectOption("interrupted");
    const over = admin.getByRole("region", { name: "Ended turns" }).locator("tr").filter({ has: admin.getByRole("link", { name: "lin", exact: true }) });
    await over.locator(".badge", { hasText: "interrupted" }).waitFor();
    await over.getByRole("link", { name: "Timeline" }).click();
    await admin.getByText("parked for an answer").waitFor();
    await admin.getByRole("link", { name: "lin", exact: true }).click();
    await admin.getByRole("heading", { name: "lin" }).waitFor();

    await admin.getByRole("button", { name: "Disable" }).click();
    await admin.getByRole("button", { name: "Disable lin" }).click();
    await admin.getByRole("heading", { name: "lin disabled" }).waitFor();
    await admin.getByText("keys, tokens and sessions of lin do not work").waitFor();
    assert.equal(await admin.getByRole("button", { name: "Create a key" }).count(), 0);
    assert.equal(await admin.locator(".signed-in").innerText(), "root");
    await ask("restartApi"); // as another API process would, it looks the session up
    await page.reload();
    await page.getByLabel("API key or token").waitFor();
    await other.close();
  },
  { allowed: ["401", "ERR_", "503"] },
);
