import { accessible, assert, picture, story, told } from "./browser.mjs";

await story(
  async ({ page, context }) => {
    // By keyboard alone: the provider's link has the focus.
    await page.goto(`${told.url}/#/admin/users`);
    const link = page.getByRole("link", { name: "Sign in with Example" });
    await link.waitFor();
    assert.ok(await link.evaluate((element) => element === document.activeElement));
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await accessible(page, `sign-in, ${colorScheme}`);
      await picture(page, `sign-in-oidc-${colorScheme}`);
    }
    await page.setViewportSize({ width: 360, height: 740 });
    await accessible(page, "sign-in, on a phone");
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.keyboard.press("Enter");

    // At the provider, and back at the page that was asked for, as an admin by her groups.
    await page.getByRole("heading", { name: "Log in as" }).waitFor();
    await page.getByRole("link", { name: "grace" }).click();
    await page.getByRole("button", { name: "Sign out" }).waitFor();
    assert.equal(page.url(), `${told.url}/#/admin/users`);
    await page.getByRole("cell", { name: "grace" }).waitFor();
    const cookies = await context.cookies();
    assert.deepEqual(
      cookies.map(({ name, httpOnly, sameSite }) => [name, httpOnly, sameSite]),
      [["threadhouse_session", true, "Strict"]],
    );
    const readable = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
    assert.ok(!readable.includes("eyJ"), readable);
    await page.reload();
    await page.getByRole("button", { name: "Sign out" }).waitFor();

    // Out of both, and back at the sign-in page; the key form is still there.
    await page.getByRole("button", { name: "Sign out" }).click();
    await link.waitFor();
    assert.equal(page.url(), `${told.url}/`);
    assert.deepEqual(await context.cookies(), []);
    await page.getByLabel("API key or token").fill("th_wrong");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").filter({ hasText: "wrong, expired or revoked" }).waitFor();

    // What cannot be finished says why, and leads back.
    await page.goto(`${told.url}/oidc/callback?state=foreign&code=stolen`);
    await page.getByRole("heading", { name: "You are not signed in" }).waitFor();
    await page.getByText("not begun in this browser").waitFor();
    await accessible(page, "error");
    await picture(page, "sign-in-oidc-error");
    await page.getByRole("link", { name: "Back to the sign-in page" }).click();
    await link.waitFor();
    assert.deepEqual(await context.cookies(), []);
  },
  { allowed: ["401", "400"] },
);
