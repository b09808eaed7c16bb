// What hostile servers and models ask: all of it is seen before it can be accepted, no key answers what has just come,
// and what cannot be shown or read for now takes nothing else with it.
import { assert, ended, story, told } from "./browser.mjs";

const OVERRIDE = "\u202e";
const LONG = `${OVERRIDE}${"x".repeat(30_000)}THE-END`;
// Names that a form would take for its own members, and fields that are none.
const SCHEMA = {
  type: "object",
  properties: { a: null, childNodes: { type: "string" }, insertBefore: { type: "string" }, parentNode: 7, [`b${OVERRIDE}`]: { type: "string", default: `x${OVERRIDE}` } },
  required: ["a"],
};

await story(
  async ({ page }) => {
    await page.goto(`${told.url}/#/inbox`);
    const requests = page.locator(".request");

    // A form.
    const form = await begin(page, { text: tool("ask", { schema: SCHEMA }), settings: { config: told.config, approvalPolicy: "on-request" } });
    await page.goto(`${told.url}/#/inbox`);
    await requests.locator("form").getByText("b\\u{202e}").waitFor();
    await requests.getByRole("button", { name: "Answer" }).click();
    await requests.getByText("Fill in: a.").waitFor();
    await requests.getByLabel("childNodes").fill("c");
    await requests.getByLabel("a", { exact: true }).fill("1");
    await requests.getByRole("button", { name: "Answer" }).click();
    await requests.waitFor({ state: "detached" });
    const [asked] = await itemsOf(page, form, "mcpToolCall");
    assert.deepEqual(JSON.parse(asked.result.content[0].text), { action: "accept", content: { a: "1", childNodes: "c" } });

    // Arguments that are longer than what is shown at first.
    const call = await begin(page, { text: tool("write", { text: LONG }), settings: { config: told.config, approvalPolicy: "on-request" } });
    await requests.locator("pre").getByText("\\u{202e}xxx").waitFor();
    await requests.focus();
    await requests.evaluate((card) => card.scrollIntoView({ block: "start" }));
    assert.equal(await requests.locator("button kbd:not(.off)").count(), 0); // keys work when the end of it is seen
    await requests.getByRole("button", { name: "Decline" }).scrollIntoViewIfNeeded();
    await requests.locator("button kbd:not(.off)").first().waitFor();
    assert.ok(!(await requests.innerText()).includes("THE-END"));
    assert.ok(await requests.getByRole("button", { name: "Accept", exact: false }).first().isDisabled());
    await page.keyboard.press("a");
    await requests.getByRole("button", { name: "Show all" }).click();
    await requests.getByText("THE-END").waitFor();
    assert.ok(!(await requests.innerText()).includes(OVERRIDE));
    await requests.getByRole("button", { name: "Accept", exact: false }).first().click();
    await requests.waitFor({ state: "detached" });
    const [written] = await itemsOf(page, call, "mcpToolCall");
    assert.equal(written.status, "completed");

    // A request that is answered elsewhere makes room for the next one, which no key answers that was meant for the first.
    const settings = { approvalPolicy: "untrusted" };
    const first = await begin(page, { text: "[[run echo first]]", settings });
    await requests.locator("pre").getByText("echo first").waitFor();
    const second = await begin(page, { text: "[[run echo second]]", settings });
    await requests.locator("pre").getByText("echo second").waitFor();
    await requests.first().focus();
    await requests.first().locator("button kbd:not(.off)").first().waitFor();
    await page.evaluate(answerFirst, first);
    await requests.locator("pre").getByText("echo first").waitFor({ state: "detached" });
    assert.equal(await requests.locator("button kbd:not(.off)").count(), 0);
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))); // the page takes keys after that
    await page.keyboard.press("a");
    await page.keyboard.press("j");
    const early = page.evaluate(pressWhileOff);
    await requests.locator("button kbd:not(.off)").first().waitFor();
    assert.ok((await early) > 0);
    await page.keyboard.press("d"); // no moment has passed since the last letter
    assert.equal(await requests.count(), 1);
    await page.keyboard.press("j");
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 1000))); // a person pauses
    await page.keyboard.press("d");
    await requests.waitFor({ state: "detached" });
    assert.deepEqual((await itemsOf(page, second, "commandExecution")).map((item) => item.status), ["declined"]);

    // A request that cannot be shown.
    await page.route("**/v2/serverRequest/list", async (route) => {
      const response = await route.fetch();
      const body = await response.json();
      const params = { questions: [null] };
      const broken = { id: 1, threadId: first, turnId: "u", method: "item/tool/requestUserInput", params, item: null, name: "Broken", preview: "", askedAtMs: 1 };
      await route.fulfill({ response, json: { ...body, data: [broken, ...body.data] } });
    });
    const third = await begin(page, { text: "[[run echo third]]", settings });
    await page.getByText("This request cannot be shown").waitFor();
    await requests.locator("pre").getByText("echo third").waitFor();
    await requests.getByRole("button", { name: "Decline", exact: false }).first().click();
    await requests.waitFor({ state: "detached" });
    await page.unrouteAll({ behavior: "wait" });

    // A server that has no time for now.
    let refusals = 2;
    await page.route("**/v2/thread/turns/list", (route) =>
      refusals-- > 0 ? route.fulfill({ status: refusals ? 429 : 503, json: { detail: "Too many requests." } }) : route.continue(),
    );
    await page.goto(`${told.url}/#/threads/${third}`);
    await page.getByText("echo third").first().waitFor();
    await ended(page);
    assert.ok(refusals < 0);
    await page.unrouteAll({ behavior: "wait" });
  },
  { allowed: ["429", "503"] },
);

function tool(name, params) {
  return `[[tool mcp__demo::${name} ${JSON.stringify(params)}]][[say Done.]]`;
}

/** Begin a turn in a new thread. Returns the thread's id. */
async function begin(page, given) {
  return page.evaluate(async ({ text, settings }) => {
    const post = async (method, params) => {
      const response = await fetch(`/v2/${method}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(params) });
      if (!response.ok) throw new Error(await response.text());
      return response.json();
    };
    const { thread } = await post("thread/start", settings);
    await post("turn/start", { threadId: thread.id, input: [{ type: "text", text }] });
    return thread.id;
  }, given);
}

/** Return the items of a kind of a thread, when its turn is done. */
async function itemsOf(page, threadId, type) {
  const read = async (threadId) => {
    const body = JSON.stringify({ threadId, itemsView: "full" });
    const response = await fetch("/v2/thread/turns/list", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    return (await response.json()).data[0];
  };
  const deadline = Date.now() + 60_000;
  let turn = await page.evaluate(read, threadId);
  while (turn.status === "inProgress" && Date.now() < deadline) turn = await page.evaluate(read, threadId);
  return turn.items.filter((item) => item.type === type);
}

/** In the page: answer what a thread asks, as another client does. */
async function answerFirst(threadId) {
  const post = (method, params) =>
    fetch(`/v2/${method}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(params) }).then((response) => response.json());
  const { data } = await post("serverRequest/list", {});
  const { id } = data.find((one) => one.threadId === threadId);
  await post("serverRequest/respond", { requestId: id, result: { decision: "accept" } });
}

/** In the page: press "a" in the chosen request until its keys work. Returns how often. */
async function pressWhileOff() {
  const card = document.activeElement;
  let pressed = 0;
  for (; card.querySelector("kbd.off"); pressed++) {
    card.dispatchEvent(new KeyboardEvent("keydown", { key: "a", bubbles: true }));
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
  return pressed;
}
