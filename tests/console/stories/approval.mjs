import { assert, begin, ended, picture, signIn, story } from "./browser.mjs";

const COMMAND = JSON.stringify({ cmd: "printf '\\033[32mgreen\\033[0m\\n'; exit 3", justification: "to see it" });
const PATCH = "*** Begin Patch\n*** Add File: notes.txt\n+one\n+two\n*** End Patch\n";

await story(async ({ page }) => {
  await signIn(page);
  const script = `[[reason Look|Then act]][[tool exec_command ${COMMAND}]][[patch ${PATCH}]][[say All **done**: see \`notes.txt\`.]]`;
  await begin(page, script, { Approvals: "untrusted", Sandbox: "workspace-write" });

  const command = page.getByRole("region", { name: "May this command run?" });
  await command.getByText("printf").waitFor();
  await picture(page, "approval-command");
  const status = page.locator(".thread-row.open .status");
  await status.getByText("Needs your approval").waitFor();
  await command.getByText("The agent’s reason: to see it").waitFor();
  await command.getByText("from now on, in this thread alone, this command, word for word").waitFor();
  await command.getByText(/^Answer until \d{4}-\d\d-\d\d \d\d:\d\d; then it counts as declined\.$/).waitFor();
  await command.getByText("printf").click(); // chooses the request
  await command.locator("button kbd:visible").first().waitFor();
  await page.keyboard.press("a");
  await command.waitFor({ state: "detached" });

  const patch = page.getByRole("region", { name: "May these files be changed?" });
  await patch.getByText("notes.txt").first().waitFor();
  await patch.getByText("from now on, in this thread alone, patches to these files").waitFor();
  await picture(page, "approval-patch");
  await patch.getByRole("button", { name: "Accept", exact: false }).first().click();
  await ended(page);

  await page.locator(".badge", { hasText: "exit 3" }).waitFor();
  assert.equal(await page.locator(".terminal .fg-green").innerText(), "green");
  assert.deepEqual(await page.locator(".diff tr.add .line").allInnerTexts(), ["one", "two"]);
  assert.equal(await page.locator(".agent strong").last().innerText(), "done");
  assert.equal(await page.locator(".request").count(), 0);
  assert.match(await page.locator(".facts").innerText(), /tokens/);
  await page.locator(".times summary", { hasText: /Model .+, tools .+/ }).click();
  await page.locator(".times li").first().waitFor(); // drawn once it is open
  const times = (await page.locator(".times li").allInnerTexts()).map((text) => text.replaceAll(/\s+/g, " "));
  assert.match(times.join("; "), /^\S+ m?s Model; \S+ m?s .*printf .*exit 3.*; \S+ m?s Model; \S+ m?s Change of 1 file.*; \S+ m?s Model$/);
  await picture(page, "thread-done");
});
