// What all stories share: a browser, a signed-in page, and the checks that hold at the end of each story.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

export const told = JSON.parse(process.env.STORY);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export const SIZES = { desk: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/** Ask the test for something, such as to release a pause of the model. */
export async function ask(name, ...params) {
  process.stdout.write(`${JSON.stringify({ ask: name, with: params })}\n`);
  const { value } = await answers.next();
  return value === undefined ? undefined : JSON.parse(value);
}

/**
 * Run a story in a new browser and report.
 *
 * allowed: beginnings of console messages that the story expects, such as a refused sign-in
 */
export async function story(tell, { viewport = { width: 1280, height: 800 }, allowed = [], ...options } = {}) {
  const browser = await chromium.launch({ executablePath: told.browser, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  const context = await browser.newContext({ viewport, ...options });
  context.setDefaultTimeout(Number(process.env.STORY_TIMEOUT ?? 60_000));
  const seen = { trouble: [], violations: [], foreign: [] };
  await context.exposeFunction("noteViolation", (text) => void seen.violations.push(text));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      window.noteViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  const origins = [told.url, ...(told.origins ?? [])].map((url) => new URL(url).origin);
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (!origins.includes(url.origin) && url.protocol !== "data:") seen.foreign.push(request.url());
  });
  context.on("page", (page) => watch(page, seen, allowed));
  let report;
  try {
    const page = await context.newPage();
    report = (await tell({ page, context, seen })) ?? {};
    assert.deepEqual(seen, { trouble: [], violations: [], foreign: [] });
  } catch (error) {
    report = { failure: `${error.stack}\n${JSON.stringify(seen)}\n${await shown(context)}` };
  }
  await browser.close();
  // A report may be longer than what the pipe holds.
  await new Promise((written) => process.stdout.write(`${JSON.stringify({ report })}\n`, written));
  process.exit(0);
}

function watch(page, seen, allowed) {
  page.on("pageerror", (error) => seen.trouble.push(String(error)));
  page.on("dialog", (dialog) => (seen.trouble.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
  page.on("console", (message) => {
    const text = message.text();
    // Who steers a turn that has just ended begins the next one with the same message.
    const isLate = text.includes("409") && message.location().url.endsWith("/v2/turn/steer");
    if (message.type() === "error" && !isLate && !allowed.some((one) => text.includes(one))) seen.trouble.push(text);
  });
}

async function shown(context) {
  const texts = await Promise.all(context.pages().map((page) => page.locator("body").innerText().catch(() => "")));
  return texts.join("\n---\n").slice(-3000);
}

/** Open the page and sign in. */
export async function signIn(page, user = "ada", path = "/") {
  await page.goto(told.url + path);
  await page.getByLabel("API key or token").fill(told.keys[user]);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
}

/** Begin a thread, with the choices by their names. */
export async function begin(page, text, choices = {}) {
  await page.goto(`${told.url}/#/new`);
  await page.getByLabel("What shall the agent do?").fill(text);
  for (const [name, value] of Object.entries(choices)) {
    await page.getByRole("combobox", { name }).selectOption(value);
  }
  await page.getByRole("button", { name: "Begin" }).click();
  await page.waitForURL(/#\/threads\//);
  await page.locator(".item.user").first().waitFor();
}

/** Wait until the last turn has ended so. */
export async function ended(page, how = "Done") {
  await page.locator(".turn").last().locator(".turn-end", { hasText: how }).waitFor();
}

export async function write(page, text) {
  const area = page.getByLabel("Message to the agent");
  await area.fill(text);
  await area.press("Enter");
}

/** Save a picture of the page where the test keeps them. */
export async function picture(page, name) {
  if (!told.pictures) return;
  mkdirSync(told.pictures, { recursive: true });
  await page.screenshot({ path: join(told.pictures, `${name}.png`) });
}

/** Check the page with axe, and that nothing is wider than the window. */
export async function accessible(page, name) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const told = found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`);
  assert.deepEqual(told, [], name);
  await fits(page, name);
}

/** Check the page and keep its pictures: in light and dark, at the width of a desk and of a phone. */
export async function everyLook(page, name) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport);
    for (const colours of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: colours });
      await picture(page, `${name}-${size}-${colours}`);
      await accessible(page, `${name} (${size}, ${colours})`);
    }
  }
  await page.setViewportSize(SIZES.desk);
}

export async function fits(page, name) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= window, `${name} is ${wide} wide in a window of ${window}`);
}

import { readFileSync } from "node:fs";
const AXE = readFileSync(told.axe, "utf8");
export { assert };
