import { ask, assert, begin, ended, signIn, story, told } from "./browser.mjs";

await story(
  async ({ page, context }) => {
    await page.goto(told.url);
    const field = page.getByLabel("API key or token");
    await field.fill("th_wrong");
    await field.press("Enter");
    await page.getByRole("alert").filter({ hasText: "wrong, expired or revoked" }).waitFor();
    await page.getByRole("button", { name: "Sign in" }).click();

    const key = await ask("addUser", "grace");
    told.keys.grace = key;
    await signIn(page, "grace");
    await page.reload();
    await page.getByRole("button", { name: "Sign out" }).waitFor();
    const readable = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
    assert.ok(!readable.includes("th_"), readable);
    const [cookie] = await context.cookies();
    assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
    assert.notEqual(cookie.value, key);

    // Of a server that clones from no host, the page offers no repository.
    await page.goto(`${told.url}/#/new`);
    await page.getByText("A copy of a git repository").waitFor();
    await page.route("**/console/session", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), git: false } });
    });
    await page.reload();
    await page.getByText("The files of an archive").waitFor();
    assert.equal(await page.getByText("A copy of a git repository").count(), 0);
    await page.unroute("**/console/session");

    await page.getByRole("button", { name: "Sign out" }).click();
    await field.waitFor();
    assert.deepEqual(await context.cookies(), []);

    // Who signs in next in the same tab finds nothing of the one before, even while the server is slow; what was deleted last is deleted.
    const mine = await ask("addUser", "henry");
    told.keys.henry = mine;
    await signIn(page, "grace");
    await begin(page, "[[say To delete]]");
    await ended(page);
    await page.getByLabel("Search threads").fill("[[say");
    await page.getByLabel("Message to the agent").fill("not for others");
    await page.getByLabel(/^Actions for/).click();
    const deleted = page.waitForResponse(/thread\/delete/);
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("button", { name: "Undo" }).waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    assert.equal((await deleted).status(), 200);
    await field.waitFor();
    assert.deepEqual(await page.evaluate(() => Object.keys(sessionStorage)), []);
    await page.route("**/v2/thread/list", (route) => route.fulfill({ status: 503, json: { detail: "Later." } }));
    await signIn(page, "henry");
    await page.getByRole("alert").filter({ hasText: "Later." }).waitFor();
    assert.deepEqual([await page.locator(".thread-row").count(), await page.getByLabel("Search threads").inputValue()], [0, ""]);
    await page.unroute("**/v2/thread/list");
    await page.getByRole("button", { name: "Sign out" }).click();
    await field.waitFor();

    // The key is revoked: the session ends at the next request that looks.
    await signIn(page, "grace");
    await ask("revoke", "grace");
    await ask("restartApi"); // as another API process would, it looks the session up
    await page.getByText("Your session has ended: sign in again.").waitFor();
    await field.waitFor();
  },
  { allowed: ["401", "ERR_", "503"] },
);
