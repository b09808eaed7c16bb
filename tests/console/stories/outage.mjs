// A page that is opened while the server is away comes by itself when the server is back.
import { signIn, story, told } from "./browser.mjs";

await story(
  async ({ page }) => {
    const isAway = (route) => route.fulfill({ status: 503, json: { detail: "not ready: Redis does not answer in time" } });
    await page.route("**/console/session", isAway);
    await page.goto(told.url);
    await page.getByRole("alert").filter({ hasText: "Redis does not answer" }).waitFor();
    await page.unroute("**/console/session");
    await page.getByLabel("API key or token").waitFor();

    await signIn(page);
    await page.route("**/{assets,console}/*", (route) => route.abort());
    await page.getByRole("link", { name: "Usage" }).click();
    await page.getByText("This page cannot be loaded. The server does not answer, and is asked again.").waitFor();
    await page.unrouteAll();
    await page.getByRole("heading", { name: "Your usage" }).waitFor();

    // One that answers, and has no such file any more, is another version.
    await page.route("**/assets/Admin*", (route) => route.fulfill({ status: 404 }));
    await page.goto(`${told.url}/#/admin/turns`);
    await page.getByText("The server may have been upgraded: reload the page.").waitFor();
  },
  { allowed: ["503", "404", "ERR_"] },
);
