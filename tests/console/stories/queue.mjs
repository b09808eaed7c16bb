// While a turn runs, messages are queued for the next ones: they survive a reload, are edited and removed, and each is
// sent once, in order, although two windows are open.
import { ask, assert, begin, ended, everyLook, signIn, story, told, write } from "./browser.mjs";

const said = (page) => page.locator(".item.user").allInnerTexts();
const queue = (page) => page.getByRole("region", { name: "Queued messages" });
const area = (page) => page.getByLabel("Message to the agent");

await story(async ({ page, context }) => {
  await signIn(page);
  await begin(page, "[[say so far]][[pause queued]][[say and on]]");
  await page.locator(".agent", { hasText: "so far" }).waitFor();

  await area(page).fill("second");
  await page.getByRole("button", { name: "Queue" }).click();
  for (const text of ["thrid", "never"]) {
    await area(page).fill(text);
    await area(page).press("Alt+Enter");
  }
  await queue(page).locator("li").nth(2).waitFor();
  assert.equal(await area(page).inputValue(), "");
  await everyLook(page, "thread-queue");

  await page.reload();
  const row = (text) => queue(page).locator("li", { hasText: text });
  await row("thrid").getByRole("button", { name: "Edit" }).click();
  await queue(page).locator("textarea:focus").waitFor();
  await page.keyboard.press("Control+A");
  await page.keyboard.type("third");
  await page.keyboard.press("Enter");
  await row("third").waitFor();
  await row("never").getByRole("button", { name: "Remove" }).click();
  await row("never").waitFor({ state: "detached" });

  const other = await context.newPage();
  await other.goto(page.url());
  await queue(other).locator("li").nth(1).waitFor();
  await ask("release", "queued");
  await page.getByText("You said: third").waitFor();
  await page.locator(".turn").nth(2).locator(".turn-end", { hasText: "Done" }).waitFor();
  assert.deepEqual((await said(page)).map((text) => text.trim().split("\n").at(-1)).slice(-2), ["second", "third"]);
  assert.equal(await page.locator(".turn").count(), 3);
  await other.getByText("You said: third").waitFor();
  assert.equal(await queue(other).count() + (await queue(page).count()), 0);
  await other.close();

  // A turn that is interrupted holds them until the user says so.
  await write(page, "[[say again]][[pause held]]");
  await page.locator(".agent", { hasText: "again" }).waitFor();
  await ask("reached", "held");
  await area(page).fill("afterwards");
  await area(page).press("Alt+Enter");
  await row("afterwards").waitFor();
  await area(page).press("Escape");
  await queue(page).getByText("The last turn was interrupted. The message waits.").waitFor();
  await ended(page, "Interrupted");

  // A window that shows another page sends, too.
  await queue(page).getByRole("button", { name: "Send now" }).click();
  await page.getByText("You said: afterwards").waitFor();
  await ended(page);
  await write(page, "[[say still]][[pause elsewhere]]");
  await page.locator(".agent", { hasText: "still" }).waitFor();
  await area(page).fill("while away");
  await area(page).press("Alt+Enter");
  await row("while away").waitFor();
  const thread = page.url();
  await page.goto(`${told.url}/#/usage`);
  await page.getByText("Your usage").waitFor();
  await ask("release", "elsewhere");
  await page.waitForFunction(() => localStorage.length === 0 || !Object.keys(localStorage).some((key) => key.startsWith("queue:")));
  await page.goto(thread);
  await page.getByText("You said: while away").waitFor();
  await ended(page);

  // Nothing is left in the browser of a user who signs out.
  await write(page, "[[say last]][[pause leaving]]");
  await page.locator(".agent", { hasText: "last" }).waitFor();
  await area(page).fill("left behind");
  await area(page).press("Alt+Enter");
  await row("left behind").waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key or token").waitFor();
  await page.waitForFunction(() => !Object.keys(localStorage).some((key) => key.startsWith("queue:")));
  await ask("release", "leaving");
}, { allowed: ["401"] }); // of what is on its way when the user signs out
