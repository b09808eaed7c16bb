import { ask, assert, signIn, story, told } from "./browser.mjs";

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

    await page.getByRole("button", { name: "Sign out" }).click();
    await field.waitFor();
    assert.deepEqual(await context.cookies(), []);

    // The key is revoked: the session ends at the next request that looks.
    await signIn(page, "grace");
    await ask("revoke", "grace");
    await ask("restartApi"); // as another API process would, it looks the session up
    await page.reload();
    await field.waitFor();
  },
  { allowed: ["401", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "503"] },
);
