// An admin sees without Prometheus what is wrong now, what was wrong today, since when and until when, and what to do.
import { ask, assert, everyLook, signIn, story } from "./browser.mjs";

await story(
  async ({ page }) => {
    await ask("addAlert", "ThreadhouseOutboxAge", 90, "2 messages are not delivered, <b>the first</b> for 20 min", 30);
    await ask("addAlert", "ThreadhouseLeasesLost", 8, "A worker was lost or silent, and others took its turns.", null);
    await ask("addAlert", "ThreadhouseWorkersBroken", 25 * 60, "long ago", 24 * 60 + 30);
    await signIn(page, "root", "/#/admin/turns");
    await page.getByRole("status").filter({ hasText: "LeasesLost, 8 min ago: A worker was lost" }).waitFor();
    await everyLook(page, "admin-turns-alert");

    await page.getByRole("link", { name: "Alerts and what to do" }).click();
    const alerts = page.getByRole("region", { name: "Alerts", exact: true });
    const now = await alerts.locator("tr", { hasText: "LeasesLost" }).innerText();
    assert.match(now, /warning.*now.*Look for kills for memory.*OPERATIONS\.md#threadhouseleaseslost/s);
    const ended = await alerts.locator("tr", { hasText: "OutboxAge" }).innerText();
    assert.match(ended, /\(60 min 0 s\).*<b>the first<\/b>/s);
    assert.equal(await page.getByText("long ago").count(), 0);
    // The workers of the deployment look all the time, as nothing says otherwise.
    assert.equal(await page.getByText("Nobody has looked").count(), 0);
    await everyLook(page, "admin-health-alerts");

    // Without Redis the server makes no checks: the page says what to do, and what was known before.
    await page.route("**/statusz", (route) => route.fulfill({ status: 503, json: { detail: "not ready: Redis does not answer: ConnectionError" } }));
    const checks = page.getByRole("region", { name: "Checks" });
    await checks.locator("tr", { hasText: "redis" }).getByText("Start Redis").waitFor();
    await checks.getByRole("row", { name: /^workers unknown Before: / }).waitFor();
  },
  { allowed: ["503"] }, // of /statusz: the deployment has no scheduler
);
