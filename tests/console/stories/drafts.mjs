// Nothing that a user has typed is lost: while a message is on its way, when the server refuses it, or on another page.
import { ask, assert, begin, ended, signIn, story, told, write } from "./browser.mjs";

const QUESTIONS = JSON.stringify({
  questions: [
    { id: "a", header: "City", question: "Which city?", options: null },
    { id: "b", header: "Word", question: "Which word?", isSecret: true, options: null },
  ],
});
const refuse = (route) => route.fulfill({ status: 429, json: { detail: "Too many turns. Wait a minute." } });

await story(
  async ({ page }) => {
    await signIn(page);
    await begin(page, "[[say Hello]]");
    await ended(page);
    const area = page.getByLabel("Message to the agent");

    // What is typed while a message is on its way is the next one; a message that is refused comes back before it.
    for (const isRefused of [false, true]) {
      let answer;
      const reached = new Promise((arrived) => {
        void page.route("**/v2/turn/start", async (route) => {
          await new Promise((resolve) => ((answer = resolve), arrived()));
          await (isRefused ? refuse(route) : route.continue());
        });
      });
      await area.fill("[[say One]]");
      await area.press("Enter");
      await reached;
      assert.equal(await area.inputValue(), "");
      await area.pressSequentially("next");
      answer();
      if (isRefused) {
        await page.locator(".toast.error", { hasText: "Too many turns" }).waitFor();
        assert.equal(await area.inputValue(), "[[say One]]\nnext");
      } else {
        await page.locator(".item.user").nth(1).waitFor();
        await ended(page);
        assert.equal(await area.inputValue(), "next");
      }
      await page.unroute("**/v2/turn/start");
    }

    // A thread whose first message is refused has it in its box, and says why until it is sent.
    await page.route("**/v2/turn/start", refuse);
    await page.goto(`${told.url}/#/new`);
    await page.getByLabel("What shall the agent do?").fill("[[say Begun]]");
    await page.getByRole("button", { name: "Begin" }).click();
    await page.getByRole("alert").filter({ hasText: "the message was not sent: Too many turns." }).waitFor();
    assert.equal(await area.inputValue(), "[[say Begun]]");
    await page.unroute("**/v2/turn/start");
    await area.press("Enter");
    await page.locator(".agent", { hasText: "Begun" }).waitFor();
    assert.equal(await page.getByRole("alert").count(), 0);
    await ended(page);

    // Another page of the console, and back: the first message of a thread with its place, after a reload, too.
    const away = async (back) => {
      await page.goto(`${told.url}/#/usage`);
      await page.getByText("Your usage").waitFor();
      await page.goto(back);
    };
    const thread = page.url();
    const first = page.getByLabel("What shall the agent do?");
    await page.goto(`${told.url}/#/new`);
    await first.fill("not yet");
    await page.getByLabel("A copy of a git repository").check();
    await page.getByLabel("Address").fill("https://git.example/a");
    await page.getByRole("combobox", { name: "Approvals" }).selectOption("never");
    await away(`${told.url}/#/new`);
    await page.reload();
    await first.waitFor();
    const found = [first, page.getByLabel("Address"), page.getByRole("combobox", { name: "Approvals" })].map((one) => one.inputValue());
    assert.deepEqual(await Promise.all(found), ["not yet", "https://git.example/a", "never"]);

    // What a thread's box has beside its text.
    await page.goto(thread);
    await page.getByRole("combobox", { name: "Sandbox" }).selectOption("read-only");
    await area.evaluate(paste);
    await page.getByAltText("Pasted image 1").waitFor();
    await away(thread);
    await page.getByAltText("Pasted image 1").waitFor();
    assert.equal(await page.getByRole("combobox", { name: "Sandbox" }).inputValue(), "read-only");
    await page.getByRole("button", { name: "Remove image 1" }).click();

    // The edit of a queued message, which is not sent meanwhile.
    await write(page, "[[say going]][[pause drafts]]");
    await page.locator(".agent", { hasText: "going" }).waitFor();
    await area.fill("queued");
    await area.press("Alt+Enter");
    await page.getByRole("button", { name: "Edit" }).click();
    await page.getByLabel("Queued message", { exact: true }).fill("[[say edited]]");
    await page.goto(`${told.url}/#/usage`);
    await ask("release", "drafts");
    await page.getByText("Your usage").waitFor();
    await page.goto(thread);
    await ended(page);
    const edit = page.locator(".queue textarea");
    assert.equal(await edit.inputValue(), "[[say edited]]");
    await edit.press("Enter");
    await page.locator(".agent", { hasText: "edited" }).waitFor();
    await ended(page);

    // An answer, but no secret one.
    await page.evaluate(question, { threadId: thread.split("/").pop(), text: `[[tool request_user_input ${QUESTIONS}]][[say Thanks]]` });
    const answers = page.locator(".request input:not([type=radio])");
    await answers.nth(1).waitFor();
    await answers.nth(0).fill("Rome");
    await answers.nth(1).fill("secret");
    await away(thread);
    await answers.nth(1).waitFor();
    assert.deepEqual([await answers.nth(0).inputValue(), await answers.nth(1).inputValue()], ["Rome", ""]);
    await page.locator(".request form button.primary:enabled").click();
    await page.locator(".agent", { hasText: "Thanks" }).waitFor();

    // A name that the server does not take.
    await page.route("**/v2/thread/name/set", refuse);
    await page.getByLabel(/^Actions for/).first().click();
    await page.getByRole("button", { name: "Rename" }).click();
    await page.getByLabel("Name of the thread").fill("A new name");
    await page.keyboard.press("Enter");
    await page.locator(".toast.error").waitFor();
    assert.equal(await page.getByLabel("Name of the thread").inputValue(), "A new name");
    await page.unroute("**/v2/thread/name/set");
    await page.getByLabel("Name of the thread").press("Enter");
    await page.locator(".thread-row a", { hasText: "A new name" }).waitFor();
  },
  { allowed: ["429", "400"] }, // 400: a thread without turns has none to list
);

/** In the page: paste an image of one pixel. */
function paste(area) {
  const bytes = Uint8Array.from(atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="), (one) => one.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], "dot.png", { type: "image/png" }));
  area.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}

/** In the page: begin a turn of plan mode, which may ask. */
async function question({ threadId, text }) {
  const collaborationMode = { mode: "plan", settings: { model: "mock-model", reasoning_effort: null, developer_instructions: null } };
  await fetch("/v2/turn/start", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ threadId, input: [{ type: "text", text }], collaborationMode }),
  });
}
