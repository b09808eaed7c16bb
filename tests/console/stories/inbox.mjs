// A user who looks elsewhere is told of what waits, once they have asked for it; and sees who has answered.
import { assert, begin, ended, everyLook, signIn, story, told } from "./browser.mjs";

await story(
  async ({ page, context }) => {
    await context.addInitScript(fakeNotifications);
    await signIn(page, "iris");
    await page.goto(`${told.url}/#/inbox`);
    await page.getByRole("button", { name: "Notify me" }).waitFor();

    const other = await context.newPage(); // a second window of the same user
    await other.goto(told.url);
    await other.getByRole("button", { name: "Sign out" }).waitFor();
    await begin(other, "[[run touch one.txt]]", { Approvals: "untrusted" });
    await other.locator(".request").waitFor();
    await page.waitForFunction(() => document.title === "(1) Threadhouse");
    assert.deepEqual(await page.evaluate(() => [window.asked, window.notified]), [0, []]); // nobody has asked for it

    await page.getByRole("button", { name: "Notify me" }).click();
    await page.getByRole("button", { name: "Turn notifications off" }).waitFor();
    assert.equal(await page.evaluate(() => window.asked), 1);
    await begin(other, "[[run touch two.txt]]", { Approvals: "untrusted" });
    await other.locator(".request").waitFor();
    await page.waitForFunction(() => document.title === "(2) Threadhouse");
    await page.waitForFunction(() => window.notified.length === 1);
    const [told_] = await page.evaluate(() => window.notified);
    assert.deepEqual([told_.title, told_.body], ["May this command run?", "[[run touch two.txt]]"]);

    // Answered in one window, seen in the other with the one who has.
    await other.getByRole("button", { name: "Decline", exact: false }).first().click();
    await ended(other);
    const answered = page.getByRole("region", { name: "Answered lately" });
    await answered.getByText("Declined:").waitFor();
    assert.match(await answered.innerText(), /by you, from a browser or a script, with the key “laptop”, just now/);
    await everyLook(page, "inbox-answered");

    await page.getByRole("button", { name: "Turn notifications off" }).click();
    await page.getByRole("button", { name: "Notify me" }).waitFor();
    await page.reload();
    await page.getByRole("button", { name: "Notify me" }).waitFor();
    assert.deepEqual(await page.evaluate(() => [window.asked, window.notified]), [0, []]);
    await page.locator(".request").getByRole("button", { name: "Decline", exact: false }).first().click();
    await page.getByText("Nothing waits for you").waitFor();
  },
  { allowed: ["503"] },
);

/** In the page: notifications that are only noted, in a window that the user does not look at. */
function fakeNotifications() {
  window.asked = 0;
  window.notified = [];
  document.hasFocus = () => false;
  class Noted {
    static permission = "granted";
    static async requestPermission() {
      window.asked += 1;
      return "granted";
    }
    constructor(title, options) {
      window.notified.push({ title, ...options });
    }
    close() {}
  }
  window.Notification = Noted;
}
