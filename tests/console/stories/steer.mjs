import { ask, assert, begin, ended, picture, signIn, story, told, write } from "./browser.mjs";

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

  // A message that the model cannot read yet is seen at once, also after a look at another page.
  await begin(page, "[[run touch made.txt]][[say Done.]]", { Approvals: "untrusted" });
  await page.locator(".request").waitFor();
  await write(page, "[[say Turned again.]]");
  const sent = page.getByRole("region", { name: "Sent messages" });
  await sent.getByText("Turned again.").waitFor();
  await page.goto(`${told.url}/#/inbox`);
  await sent.waitFor({ state: "detached" });
  await page.goBack();
  await sent.getByText("Turned again.").waitFor();
  await picture(page, "steered");
  await page.locator(".request").getByRole("button", { name: "Accept", exact: false }).first().click();
  await page.locator(".item.user", { hasText: "Turned again." }).waitFor();
  await sent.waitFor({ state: "detached" });
  await ended(page);

  // An image is pasted, sent with the message, and shown in it.
  await page.getByLabel("Message to the agent").fill("what is this?");
  await page.getByLabel("Message to the agent").evaluate(paste, "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==");
  await page.getByAltText("Pasted image 1").waitFor();
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".turn").last().getByAltText("Image of the message").waitFor();
  await ended(page);
  assert.equal(await page.locator(".pasted img").count(), 0);

  // What one has sent is shown, although one was reading what is above.
  await write(page, "[[say n=3000]][[pause long]][[say n=3000 delay_ms=20]]");
  await ask("reached", "long");
  await ask("release", "long");
  await page.waitForFunction(() => document.querySelector("[role=log]").scrollTop > 200); // the text is there
  await page.getByRole("log").hover();
  await page.mouse.wheel(0, -40); // a little: the text that comes meanwhile does not pull one back
  await page.getByRole("button", { name: "↓ Latest" }).waitFor();
  await write(page, "[[say Below.]]");
  await ended(page);
  await page.getByRole("button", { name: "↓ Latest" }).waitFor({ state: "detached" });

  // Nor does what grows before the page is told of a move, such as one of the keyboard or of the bar beside the text.
  await page.evaluate(moveAndGrow);
  await page.getByRole("button", { name: "↓ Latest" }).waitFor();
  assert.equal(await page.getByRole("log").evaluate((box) => box.scrollTop), 0);
});

/** In the page: scroll up, and have the text grow in the same frame, whose end is before the event of the move. */
function moveAndGrow() {
  requestAnimationFrame(() => {
    document.querySelector("[role=log]").scrollTop = 0;
    document.querySelector(".turns").style.minHeight = "2000px";
  });
}

/** In the page: paste an image into a field. */
function paste(field, base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
  field.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}
