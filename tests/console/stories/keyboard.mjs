// With the keyboard alone, at the width of a phone: begin a thread, answer a question, read, find the keys.
import { accessible, ended, fits, signIn, story } from "./browser.mjs";

const QUESTION = JSON.stringify({
  questions: [{ id: "c", header: "Colour", question: "Which colour?", options: [{ label: "Red", description: "" }, { label: "Blue", description: "" }] }],
});

await story(
  async ({ page }) => {
    await signIn(page);
    await page.getByRole("link", { name: "New thread" }).first().waitFor();
    await page.locator("body").press("n");
    await page.getByLabel("What shall the agent do?").waitFor();
    await page.waitForFunction(() => document.activeElement?.id === "first");
    await page.keyboard.type("[[run touch made.txt]][[say Good.]]");
    const approvals = page.getByRole("combobox", { name: "Approvals" });
    for (let tab = 0; tab < 20 && !(await approvals.evaluate((one) => one === document.activeElement)); tab++) await page.keyboard.press("Tab");
    await page.keyboard.type("Ask for each");
    await page.getByLabel("What shall the agent do?").focus();
    await page.keyboard.press("Control+Enter");
    await page.locator(".request").waitFor();
    await fits(page, "thread on a phone");
    const threadId = page.url().split("/").pop();

    await page.getByLabel("Message to the agent").press("Escape"); // leaves the box, and stops nothing that asks
    await page.waitForFunction(() => document.activeElement === document.body);
    await page.keyboard.press("i");
    await page.getByRole("heading", { name: "Inbox" }).waitFor();
    await page.locator(".request button:enabled").first().waitFor(); // it has been in view for a moment
    await page.keyboard.press("j"); // chooses the request
    await page.locator(".request button kbd:not(.off)").first().waitFor({ state: "attached" });
    await page.keyboard.press("d");
    await page.getByText("Nothing waits for you").waitFor();
    await page.waitForFunction(() => document.title === "Threadhouse");
    await page.locator("body").press("t");
    await page.locator(`.thread-row a[href$="${threadId}"]`).press("Enter");
    await ended(page);
    await page.locator(".badge", { hasText: "declined" }).waitFor();

    await page.getByRole("log").focus();
    await page.keyboard.press("?");
    await page.getByRole("dialog").getByText("Jump to the latest").waitFor();
    await accessible(page, "keys on a phone");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });

    // A question of plan mode.
    await page.evaluate(ask, { threadId, text: `[[tool request_user_input ${QUESTION}]][[say As you like.]]` });
    await page.getByText("Which colour?").last().waitFor();
    await page.locator(".thread-top .status", { hasText: "Needs your answer" }).waitFor();
    await page.getByLabel("Blue").focus();
    await page.keyboard.press("Space");
    await page.locator(".request form button.primary:enabled").waitFor(); // it has been in view for a moment
    await page.keyboard.press("Enter");
    await page.locator(".agent", { hasText: "As you like." }).waitFor();
    await ended(page);
  },
  { viewport: { width: 390, height: 844 } },
);

async function ask({ threadId, text }) {
  const collaborationMode = { mode: "plan", settings: { model: "mock-model", reasoning_effort: null, developer_instructions: null } };
  await fetch("/v2/turn/start", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ threadId, input: [{ type: "text", text }], collaborationMode }),
  });
}
