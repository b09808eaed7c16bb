// What a model, a command, a file or a user may write: no script runs, no request leaves, nothing is made of it but text.
import { assert, begin, ended, signIn, story, told } from "./browser.mjs";

const RUN = "window.pwned=1";
const PAYLOADS = [
  `<script>${RUN}</script>`,
  `<img src=x onerror=${RUN}>`,
  `<svg onload=${RUN}>`,
  `<svg><script>${RUN}</script></svg>`,
  `<iframe srcdoc="<script>parent.${RUN}</script>"></iframe>`,
  `<iframe src="javascript:parent.${RUN}"></iframe>`,
  `<body onload=${RUN}>`,
  `<details open ontoggle=${RUN}>x</details>`,
  `<input autofocus onfocus=${RUN}>`,
  `<a href="javascript:${RUN}">x</a>`,
  `[x](javascript:${RUN})`,
  `[x](JaVaScRiPt:${RUN})`,
  `[x](java&#10;script:${RUN})`,
  `[x](&#106;avascript:${RUN})`,
  `[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)`,
  `[x](vbscript:${RUN})`,
  `[x]( javascript:${RUN} "title\\" onclick=${RUN} x=\\"")`,
  `![x](https://evil.example/pixel.png)`,
  `![x](javascript:${RUN})`,
  `![" onerror="${RUN}](x)`,
  `<javascript:${RUN}>`,
  `<https://evil.example/" onmouseover="${RUN}>`,
  `\`\`\`html"><img src=x onerror=${RUN}>\n<script>${RUN}</script>\n\`\`\``,
  `<style>@import "https://evil.example/x.css"; body{display:none}</style>`,
  `<link rel=stylesheet href=https://evil.example/x.css>`,
  `<meta http-equiv=refresh content="0;url=https://evil.example/">`,
  `<base href=https://evil.example/>`,
  `<form action=https://evil.example/><button autofocus>x</button></form>`,
  `<math><mtext></form><form><mglyph><style></math><img src onerror=${RUN}>`,
  `<noscript><p title="</noscript><img src=x onerror=${RUN}>">`,
  `{{constructor.constructor('${RUN}')()}}`,
  `"><img src=x onerror=${RUN}>`,
  `</pre></code><script>${RUN}</script>`,
  `&lt;script&gt;${RUN}&lt;/script&gt;`,
  `<object data="data:text/html,<script>${RUN}</script>"></object>`,
  `\u001b]8;;javascript:${RUN}\u0007link\u001b]8;;\u0007\u001b[31m<b onclick=${RUN}>red</b>`,
  `<a id=pwned name=pwned></a><a id=pwned></a>`,
  `| a | b |\n|---|---|\n| <img src=x onerror=${RUN}> | [x](javascript:${RUN}) |`,
  "photo_\u202egpj.sh \u2066isolated\u2069 \u202dover\u202c \u009b2J\u0007\u007f",
];
// What reorders or hides text is written out wherever it is drawn; what languages and emoji need stays.
const HARMFUL = "[\\0-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]";
const FRIENDLY = "שלום world 👩\u200d💻 ❤\ufe0f a\u200eb";
const drawn = (text) => text.replaceAll(new RegExp(HARMFUL, "g"), (character) => `\\u{${character.codePointAt(0).toString(16)}}`);

await story(async ({ page }) => {
  await signIn(page);
  await begin(page, "hostile");
  await ended(page);
  const threadId = page.url().split("/").pop();
  await page.evaluate(send, { threadId, payloads: PAYLOADS });

  for (const [index, payload] of PAYLOADS.entries()) {
    const turn = page.locator(".turn").nth(index + 1);
    await turn.locator(".turn-end", { hasText: "Done" }).waitFor();
    const written = await sentText(turn);
    assert.ok(written?.includes(drawn(payload)), payload);
  }
  await nothingHappened(page);

  // The same after a reload, which reads the thread, and in the list, the inbox and a request.
  await page.reload();
  await page.locator(".turn").nth(1).waitFor();
  const older = page.getByRole("button", { name: "Earlier" });
  while (await older.count()) await older.click({ timeout: 5000 }).catch(() => {}); // it goes with the last page
  await page.locator(".turn").nth(PAYLOADS.length).waitFor();
  let links = 0;
  for (const index of PAYLOADS.keys()) {
    await page.locator(".turn-end").nth(index + 1).scrollIntoViewIfNeeded();
    links += await nothingHappened(page);
  }
  assert.ok(links > 0);

  // The same in the names of a hundred files, in a list of changes and in a link for others.
  const names = PAYLOADS.flatMap(nameFiles);
  assert.ok(names.length >= 100);
  await page.evaluate(write, { threadId, names });
  await page.goto(`${told.url}/#/threads/${threadId}/files`);
  await page.locator(".entry").nth(names.length).waitFor();
  const written = await page.locator(".entry").allTextContents();
  assert.deepEqual(names.filter((name) => !written.includes(drawn(name))), []);
  for (const name of names.filter((_, index) => index % 8 === 0)) {
    await page.locator(".entry").nth(written.indexOf(drawn(name))).click();
    await page.locator(".file pre").waitFor();
    assert.equal(await page.locator(".file h2").textContent(), drawn(name));
  }
  await nothingHappened(page);
  await page.goto(`${told.url}/#/threads/${threadId}/changes`);
  await page.locator(".diff").nth(names.length).waitFor();
  await nothingHappened(page);
  await page.goto(told.url + (await page.evaluate(share, threadId)));
  await page.locator(".turn").nth(1).waitFor();
  await nothingHappened(page);
  await page.goto(told.url);

  // A title and a message in a language that is written from right to left stay as they are, and stand so.
  await begin(page, `[[say ${FRIENDLY}]]`);
  await ended(page);
  await page.evaluate(rename, { threadId: page.url().split("/").pop(), name: FRIENDLY });
  await page.locator(".thread-row.open .thread-title", { hasText: new RegExp(`^${FRIENDLY}$`) }).waitFor();
  assert.equal(await page.locator(".thread-row.open .thread-title").evaluate((one) => getComputedStyle(one).direction), "rtl");
  assert.equal(await page.locator(".agent p").textContent(), FRIENDLY);

  const request = `<img src=x onerror=${RUN}>`;
  await begin(page, `[[run echo '${request}']]`, { Approvals: "untrusted" });
  await page.locator(".request").waitFor();
  await page.goto(`${told.url}/#/inbox`);
  await page.locator(".request pre", { hasText: request }).waitFor();
  await nothingHappened(page);
});

/** In the page: one turn per payload, in the message, the answer, the reasoning, an output, a file's name and the title. */
async function send({ threadId, payloads }) {
  const post = (method, params) =>
    fetch(`/v2/${method}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify(params),
    }).then((response) => response.text());
  for (const [index, payload] of payloads.entries()) {
    const base64 = btoa(unescape(encodeURIComponent(payload)));
    const name = payload.replace(/[\n/\u0000-\u001f]/g, "_").slice(0, 100);
    const patch = `*** Begin Patch\n*** Add File: ${index}${name}\n+${payload.replaceAll("\n", "\n+")}\n*** End Patch\n`;
    const text = `Say ${payload}\n[[reason ${payload}]][[say ${payload}]][[run echo ${base64} | base64 -d]][[patch ${patch}]][[say end]]`;
    await post("turn/start", { threadId, input: [{ type: "text", text }], sandbox: "workspace-write" });
    await fetch("/v2/thread/name/set", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ threadId, name: payload.replaceAll("\n", " ") }),
    });
  }
}

/** Names of files with a payload: as it is, after a quote, and in capitals. */
function nameFiles(payload, index) {
  const name = payload.replace(/[\n/\u0000-\u001f]/g, "_").slice(0, 90);
  return [`f${index} ${name}`, `f${index}"'>${name}`, `f${index} ${name.toUpperCase()}`];
}

/** In the page: write files. */
async function write({ threadId, names }) {
  const call = (method, params) =>
    fetch(`/v2/${method}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(params) }).then((response) => response.json());
  const { thread } = await call("thread/read", { threadId });
  for (const name of names) await call("fs/writeFile", { path: `${thread.cwd}/${name}`, dataBase64: btoa("text") });
}

/** In the page: make a link. */
async function share(threadId) {
  const answer = await fetch("/v2/thread/share/create", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ threadId }) });
  return (await answer.json()).path;
}

async function rename(params) {
  await fetch("/v2/thread/name/set", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(params) });
}

async function nothingHappened(page) {
  await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
  const found = await page.evaluate((harmful) => ({
    pwned: window.pwned instanceof Element || window.pwned === undefined ? undefined : window.pwned,
    origin: location.origin,
    elements: document.querySelectorAll("script:not([src]), iframe, object, embed, form[action], meta[http-equiv], base, style, svg, math, .turn img").length,
    handlers: [...document.querySelectorAll("*")].filter((one) => one.getAttributeNames().some((name) => name.startsWith("on"))).length,
    addresses: [...document.querySelectorAll("a[href]")].map((one) => one.href),
    harmful: [document.body.textContent, ...[...document.querySelectorAll("[title], [aria-label]")].flatMap((one) => [one.title, one.ariaLabel ?? ""])].filter((text) => new RegExp(harmful).test(text)),
  }), HARMFUL);
  assert.deepEqual(found.harmful, []);
  assert.equal(found.pwned, undefined);
  assert.equal(found.origin, new URL(told.url).origin);
  assert.deepEqual([found.elements, found.handlers], [0, 0]);
  const foreign = found.addresses.filter((href) => !href.startsWith(told.url));
  assert.ok(foreign.every((href) => /^(https?|mailto):/.test(href)), foreign.join("\n"));
  return foreign.length;
}

/** Return the message of a turn. What is far away is not drawn, and the end of an earlier turn may move the page on. */
async function sentText(turn) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    await turn.scrollIntoViewIfNeeded();
    const text = await turn.locator(".item.user").textContent({ timeout: 2000 }).catch(() => null); // out of sight there is no innerText
    if (text !== null || Date.now() > deadline) return text;
  }
}
