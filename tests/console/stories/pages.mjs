// Each page in light and dark, at the width of a desk and of a phone: axe finds nothing, nothing is too wide, and a
// picture is kept.
import { ask, assert, begin, ended, everyLook, signIn, SIZES, story, told } from "./browser.mjs";

const PATCH = "*** Begin Patch\n*** Add File: notes.txt\n+one\n+two\n*** End Patch\n";
const TEXT = `# A heading

Some **bold**, *slanted*, \`code\`, ~~gone~~ and [a link](https://example.com).

- first
- second
  1. nested
- [x] done

| name | number |
|---|---:|
| one | 1 |

> quoted

\`\`\`python
print("hello")
\`\`\``;
const PLAN = JSON.stringify({ plan: [{ step: "Read", status: "completed" }, { step: "Write", status: "in_progress" }, { step: "Test", status: "pending" }] });
const QUESTION = JSON.stringify({
  questions: [
    { id: "c", header: "Colour", question: "Which colour shall it have?", options: [{ label: "Red", description: "as a rose" }, { label: "Blue", description: "as the sky" }] },
  ],
});
const EXTRA = ["turns", "queue", "workers", "users", "usage", "feedback", "webhooks", "audit", "erasures", "health"].map((tab) => `admin/${tab}`);

await story(async ({ page, context }) => {
  await page.goto(told.url);
  await everyLook(page, "sign-in");
  await signIn(page, "olga"); // who has no thread yet
  await page.getByText("No threads yet").waitFor();
  await everyLook(page, "empty");
  await page.goto(`${told.url}/#/inbox`);
  await page.getByText("Nothing waits for you").waitFor();
  await everyLook(page, "inbox-empty");

  await begin(page, `[[reason **Looking around**|Then I act]][[run printf 'plain \\033[31mred\\033[0m \\033[1;32mgreen\\033[0m\\n'; exit 1]][[tool update_plan ${PLAN}]][[patch ${PATCH}]][[say ${TEXT}]]`);
  await ended(page);
  await page.locator(".agent h2").waitFor();
  await everyLook(page, "thread");
  const done = page.url();

  await begin(page, "[[status 400 the model does not want to]]");
  await ended(page, "Failed");
  await everyLook(page, "thread-failed");

  await begin(page, "[[say It writes]][[pause pages]]");
  await page.locator(".agent").waitFor();
  await everyLook(page, "thread-running");

  await begin(page, "[[run touch made.txt]]", { Approvals: "untrusted" });
  await page.locator(".request").waitFor();
  await everyLook(page, "thread-approval");

  await begin(page, `[[patch ${PATCH}]]`, { Approvals: "untrusted" });
  await page.locator(".request").waitFor();
  await page.goto(`${told.url}/#/inbox`);
  await page.locator(".request").nth(1).waitFor();
  await page.waitForFunction(() => document.title === "(2) Threadhouse");
  await everyLook(page, "inbox");

  await page.goto(`${told.url}/#/new`);
  await page.getByText("A copy of a git repository").click();
  await everyLook(page, "new");
  for (const select of await page.locator(".choices select").all()) assert.ok(await select.evaluate(showsItsLongest), await select.innerText());

  await page.evaluate(leaveRecords);
  for (const path of EXTRA) {
    await page.goto(`${told.url}/#/${path}`);
    await page.locator(".grid tbody tr").first().waitFor();
    await everyLook(page, path.replace("/", "-"));
    await page.setViewportSize(SIZES.phone);
    for (const table of await page.locator(".grid").all()) assert.ok(await table.evaluate((one) => one.parentElement.scrollWidth <= one.parentElement.clientWidth), path);
    await page.setViewportSize(SIZES.desk);
  }
  await page.goto(`${told.url}/#/admin/turns`);
  await page.getByRole("link", { name: "Timeline" }).first().click();
  await page.locator(".timeline li").first().waitFor();
  await everyLook(page, "admin-turn");
  await page.goto(`${told.url}/#/admin/users`);
  await page.getByRole("link", { name: "olga" }).click();
  await page.getByRole("button", { name: "Create a key" }).click();
  await page.getByLabel("The new API key").waitFor();
  await page.getByLabel("turns at once").waitFor();
  await everyLook(page, "admin-user");
  await page.goto(`${told.url}/#/usage`);
  await page.locator(".grid tbody tr").first().waitFor();
  await everyLook(page, "usage");
  await page.goto(`${told.url}/#/threads/00000000-0000-7000-8000-000000000000`);
  await page.getByText("This thread cannot be shown").waitFor();
  await everyLook(page, "thread-unknown");
  await page.goto(done);
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await everyLook(page, "keys");
  await ask("release", "pages");
}, { allowed: ["404", "400", "503"] });

/** In the page: whether a list has room for its longest text. */
function showsItsLongest(select) {
  const asWideAsItWants = select.cloneNode(true);
  asWideAsItWants.style.maxWidth = "none";
  select.after(asWideAsItWants);
  const wanted = asWideAsItWants.getBoundingClientRect().width;
  asWideAsItWants.remove();
  return select.getBoundingClientRect().width >= wanted;
}

/** In the page: a report and an erasure, so that no list of the operator is empty. */
async function leaveRecords() {
  const post = (method, params) =>
    fetch(`/v2/${method}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(params) }).then((response) => response.json());
  await post("feedback/upload", { classification: "bad_result", reason: "It stops half way, and says nothing about the file that I had asked it to change.", tags: {} });
  const { thread } = await post("thread/start", {});
  await post("thread/delete", { threadId: thread.id });
  const second = await post("thread/start", {});
  await post("turn/start", { threadId: second.thread.id, input: [{ type: "text", text: "[[say Hello]]" }] });
  await post("thread/delete", { threadId: second.thread.id });
}
