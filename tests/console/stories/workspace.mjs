// A thread starts from an archive; its changes and files are shown as text, whatever they contain, and downloaded.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, ended, everyLook, picture, SIZES, signIn, story, told } from "./browser.mjs";

const PATCH = "*** Begin Patch\n*** Update File: README.txt\n@@\n one\n-two\n+TWO\n three\n*** Add File: src/new.txt\n+new\n*** End Patch\n";

await story(async ({ page }) => {
  await signIn(page);
  await page.goto(`${told.url}/#/new`);
  await page.getByLabel("What shall the agent do?").fill(`[[patch ${PATCH}]][[say end]]`);
  await page.getByText("The files of an archive").click();
  await picture(page, "new-archive");
  await page.locator("option", { hasText: "No sandbox" }).waitFor({ state: "detached" }); // the server refuses it to users with keys
  await page.getByRole("combobox", { name: "Sandbox" }).selectOption("workspace-write");
  await page.getByLabel("Archive", { exact: true }).setInputFiles(archive());
  await page.getByRole("button", { name: "Begin" }).click();
  await page.waitForURL(/#\/threads\//);
  await ended(page);

  // A change in the thread, on two sides where there is room.
  const change = page.locator(".changes .diff").first();
  await change.locator(".sides").waitFor();
  assert.deepEqual(await change.locator("tr", { hasText: "TWO" }).locator(".line").allInnerTexts(), ["two", "TWO"]);
  await everyLook(page, "thread-sides");
  await page.setViewportSize(SIZES.phone);
  await change.locator("tr.add .line", { hasText: "TWO" }).waitFor();
  assert.equal(await page.locator(".sides").count(), 0);
  await page.setViewportSize(SIZES.desk);

  await page.getByRole("link", { name: "Changes and files" }).click();
  await page.getByText("2 files have changed since the start").waitFor();
  assert.deepEqual(await page.locator(".diff summary code").allInnerTexts(), ["README.txt", "src/new.txt"]);
  await everyLook(page, "workspace-changes");
  const [patch] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "the changes" }).click()]);
  assert.match(readFileSync(await patch.path(), "utf8"), /^\+TWO$/m);
  const [tar] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "all files" }).click()]);
  assert.match(execFileSync("tar", ["tf", await tar.path()], { encoding: "utf8" }), /src\/new\.txt/);

  await page.getByRole("link", { name: "Files", exact: true }).click();
  await page.getByRole("button", { name: "README.txt" }).click();
  assert.equal(await page.locator(".file pre").innerText(), "one\nTWO\nthree\n");
  await page.locator(".tree summary", { hasText: "src/" }).click();
  await page.getByRole("button", { name: "new.txt" }).waitFor();
  await everyLook(page, "workspace-files");
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
  assert.equal(file.suggestedFilename(), "README.txt");
  assert.equal(readFileSync(await file.path(), "utf8"), "one\nTWO\nthree\n");

  const said = { "data.bin": "Not text: 4 bytes", "large.txt": "Too large to show: 586 KiB", "empty.txt": "The file is empty", link: "A symbolic link" };
  for (const [name, text] of Object.entries(said)) {
    await page.getByRole("button", { name, exact: true }).click();
    await page.locator(".file", { hasText: text }).waitFor();
    assert.equal(await page.locator(".file pre").count(), 0);
  }
  await page.locator(".tree summary", { hasText: "folder-link/" }).click();
  await page.locator(".tree", { hasText: "A symbolic link. It is not followed here." }).waitFor();

  // What cannot be had is said.
  await page.goto(`${told.url}/#/threads/00000000-0000-7000-8000-000000000000/files`);
  await page.getByRole("alert").waitFor();
}, { allowed: ["404", "400"] });

/** Make an archive of what a project may have. Return its path. */
function archive() {
  const folder = mkdtempSync(join(tmpdir(), "archive-"));
  const root = join(folder, "project");
  mkdirSync(join(root, "src"), { recursive: true });
  writeFileSync(join(root, "README.txt"), "one\ntwo\nthree\n");
  writeFileSync(join(root, "src", "old.txt"), "old\n");
  writeFileSync(join(root, "data.bin"), Buffer.from([0, 1, 2, 255]));
  writeFileSync(join(root, "large.txt"), "x".repeat(600_000));
  writeFileSync(join(root, "empty.txt"), "");
  symlinkSync("README.txt", join(root, "link"));
  symlinkSync("src", join(root, "folder-link"));
  const path = join(folder, "project.tar.gz");
  execFileSync("tar", ["czf", path, "-C", root, "."]);
  return path;
}
