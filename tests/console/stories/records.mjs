// What users did is in the records: feedback, webhooks, the audit log, erasures. All of it is text, whoever wrote it.
import { ask, assert, begin, ended, signIn, story, told } from "./browser.mjs";

const HOSTILE = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>";
const OVERRIDE = "\u202e";
const WRITTEN = "\\u{202e}";

await story(async ({ page, context }) => {
  told.keys.nora = await ask("addUser", "nora");
  await signIn(page, "nora");
  await begin(page, "[[status 400 no]]");
  await ended(page, "Failed");
  const threadId = page.url().split("/").pop();
  await page.evaluate(post, ["feedback/upload", { classification: "bug", reason: HOSTILE + OVERRIDE + "x".repeat(300), tags: { [HOSTILE]: HOSTILE } }]);
  await page.evaluate(post, ["thread/delete", { threadId }]);

  const other = await context.browser().newContext();
  const admin = await other.newPage();
  await signIn(admin, "root", "/#/admin/feedback");
  const report = admin.locator("tr", { hasText: "nora" });
  await report.locator("summary").click();
  await report.getByText(`${HOSTILE}${WRITTEN}xxx`).first().waitFor();
  await report.getByText(`${HOSTILE}: ${HOSTILE}`).waitFor();

  await admin.getByRole("link", { name: "Webhooks" }).click();
  await admin.getByLabel("State").selectOption("dead");
  const dead = admin.locator("tr", { hasText: "turn.failed" }).first();
  await until(admin, () => dead.isVisible());
  assert.ok((await dead.innerText()).includes("onerror=window.pwned"));
  await dead.getByRole("button", { name: "Send again" }).click();
  await admin.getByText("It is sent again within seconds.").waitFor();

  await admin.getByRole("link", { name: "Audit" }).click();
  await admin.getByLabel("Who").selectOption("nora");
  await admin.getByLabel("Action").fill("thread/delete");
  await admin.getByRole("button", { name: "Look" }).click();
  await admin.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  await admin.locator("tbody tr", { hasText: threadId }).waitFor();
  await admin.getByLabel("Action").fill("nothing");
  await admin.getByLabel("Action").press("Enter");
  await admin.getByText("No entry matches").waitFor();
  await admin.getByLabel("Who").selectOption("");
  await admin.getByLabel("Action").fill("");
  await admin.getByLabel("Action").press("Enter");
  const rows = admin.locator("tbody tr");
  await admin.waitForFunction(() => document.querySelectorAll("tbody tr").length >= 10);
  if (await admin.getByRole("button", { name: "Show more" }).isVisible()) {
    await admin.getByRole("button", { name: "Show more" }).click();
    await admin.waitForFunction(() => document.querySelectorAll("tbody tr").length > 50);
  }
  assert.ok((await rows.first().innerText()).includes("root"));

  await admin.getByRole("link", { name: "Erasures" }).click();
  await admin.locator("tr", { hasText: threadId }).getByText("its user deleted it").waitFor();
  await admin.getByRole("link", { name: "Queue" }).click();
  await admin.locator("tr", { hasText: "erasures" }).waitFor();
  assert.equal(await admin.evaluate(() => window.pwned), undefined);
  assert.equal(await admin.evaluate(() => document.querySelectorAll("img, script:not([src])").length), 0);
  await other.close();
});

/** Look again until it is there. */
async function until(page, isThere) {
  for (let tries = 0; tries < 100 && !(await isThere()); tries++) {
    await page.getByRole("button", { name: "Look again" }).click();
    await page.waitForTimeout(100);
  }
  assert.ok(await isThere());
}

async function post([method, params]) {
  const response = await fetch(`/v2/${method}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(params) });
  if (!response.ok) throw new Error(await response.text());
}
