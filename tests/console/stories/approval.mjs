import { assert, begin, ended, picture, signIn, story } from "./browser.mjs";

const PATCH = "*** Begin Patch\n*** Add File: notes.txt\n+one\n+two\n*** End Patch\n";

await story(async ({ page }) => {
  await signIn(page);
  const script = `[[reason Look|Then act]][[run printf '\\033[32mgreen\\033[0m\\n'; exit 3]][[patch ${PATCH}]][[say All **done**: see \`notes.txt\`.]]`;
  await begin(page, script, { Approvals: "untrusted", Sandbox: "workspace-write" });

  const command = page.getByRole("region", { name: "May this command run?" });
  await command.getByText("printf").waitFor();
  await picture(page, "approval-command");
  await page.getByRole("log").focus();
  await command.locator("kbd:visible").first().waitFor();
  await page.keyboard.press("a");
  await command.waitFor({ state: "detached" });

  const patch = page.getByRole("region", { name: "May these files be changed?" });
  await patch.getByText("notes.txt").first().waitFor();
  await picture(page, "approval-patch");
  await patch.getByRole("button", { name: "Accept", exact: false }).first().click();
  await ended(page);

  await page.locator(".badge", { hasText: "exit 3" }).waitFor();
  assert.equal(await page.locator(".terminal .fg-green").innerText(), "green");
  assert.deepEqual(await page.locator(".diff tr.add .line").allInnerTexts(), ["one", "two"]);
  assert.equal(await page.locator(".agent strong").last().innerText(), "done");
  assert.equal(await page.locator(".request").count(), 0);
  assert.match(await page.locator(".facts").innerText(), /tokens/);
  await picture(page, "thread-done");
});
