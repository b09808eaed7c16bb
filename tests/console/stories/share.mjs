// An owner makes a link; somebody without an account reads the turn as it goes on, and no more once it is revoked.
import { ask, assert, begin, ended, everyLook, signIn, story, told, write } from "./browser.mjs";

await story(
  async ({ page, context, seen }) => {
    await signIn(page);
    await begin(page, "[[run printf 'shown\\n'; pwd]][[say It is **written**]]");
    await ended(page);
    await page.getByRole("button", { name: "Share" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("None.").waitFor();
    await dialog.getByRole("button", { name: "Make a link" }).click();
    const link = await dialog.getByRole("textbox", { name: "The link" }).inputValue();
    assert.ok(link.startsWith(`${told.url}/#/shared/`), link);
    await dialog.getByRole("button", { name: "Revoke" }).waitFor();
    await everyLook(page, "share");
    const secret = link.split("/").at(-1);

    const other = await context.browser().newContext();
    const reader = await other.newPage();
    const asked = [];
    other.on("request", (request) => asked.push(request));
    await reader.goto(link);
    await reader.locator(".agent strong", { hasText: "written" }).waitFor();
    await everyLook(reader, "shared");
    assert.equal(await reader.getByRole("textbox").count(), 0);
    assert.equal(await reader.getByRole("link", { name: /Threads|Inbox|Operate/ }).count(), 0);
    assert.equal((await reader.locator("body").innerText()).includes("ada"), false);
    for (const request of asked) {
      const { pathname, search } = new URL(request.url());
      assert.match(pathname, /^\/($|console\/assets\/|v2\/thread\/shared(\/events)?$)/);
      assert.ok(!search.includes(secret));
      assert.ok(!request.headers().referer);
    }

    // What the owner begins now appears there too, but not what it asks.
    await dialog.getByRole("button", { name: "Close" }).click();
    await write(page, "[[say First]][[pause shared]][[say Second]]");
    await reader.getByText("First").last().waitFor();
    await reader.reload();
    await reader.locator(".working").waitFor();
    await ask("release", "shared");
    await reader.locator(".agent", { hasText: "Second" }).waitFor();
    await ended(reader);

    // A user who is signed in reads no more by it than others.
    const third = await context.browser().newContext();
    const admin = await third.newPage();
    await signIn(admin, "root");
    await admin.goto(link);
    await admin.locator(".agent", { hasText: "Second" }).waitFor();
    assert.equal(await admin.getByRole("textbox").count(), 0);

    await page.getByRole("button", { name: "Share" }).click();
    await dialog.getByRole("button", { name: "Revoke" }).click();
    await dialog.getByText("None.").waitFor();
    await reader.reload();
    await reader.getByText("Nothing to read here").waitFor();
    await admin.getByText("Nothing to read here").waitFor(); // its open stream ends without a reload
    await everyLook(reader, "shared-revoked");
    await other.close();
    await third.close();
  },
  { allowed: ["404"] },
);
