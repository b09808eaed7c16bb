import { ask, assert, begin, ended, signIn, story, write } from "./browser.mjs";

await story(async ({ page }) => {
  await signIn(page);
  await begin(page, "[[say so far]][[pause steered]][[say never]]");
  await page.locator(".agent", { hasText: "so far" }).waitFor();

  await write(page, "[[say Turned.]]");
  await page.locator(".agent", { hasText: "Turned." }).waitFor();
  await ended(page);
  assert.equal(await page.locator(".turn").count(), 1);
  assert.equal(await page.locator(".agent", { hasText: "never" }).count(), 0);

  await write(page, "[[say again]][[pause stopped]][[say never]]");
  await page.locator(".agent", { hasText: "again" }).waitFor();
  await ask("reached", "stopped");
  await page.getByLabel("Message to the agent").press("Escape");
  await ended(page, "Interrupted");

  await write(page, "and on");
  await page.getByText("You said: and on").waitFor();
  await ended(page);
  assert.equal(await page.locator(".turn").count(), 3);

  // An image is pasted, sent with the message, and shown in it.
  await page.getByLabel("Message to the agent").fill("what is this?");
  await page.getByLabel("Message to the agent").evaluate(paste, "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==");
  await page.getByAltText("Pasted image 1").waitFor();
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".turn").last().getByAltText("Image of the message").waitFor();
  await ended(page);
  assert.equal(await page.locator(".pasted img").count(), 0);
});

/** In the page: paste an image into a field. */
function paste(field, base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
  field.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}
