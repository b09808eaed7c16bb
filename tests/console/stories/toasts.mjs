// A short message covers nothing that one may want to press next, and an error ends with the next thing that goes well.
import { assert, begin, ended, picture, signIn, SIZES, story } from "./browser.mjs";

const PRESSED = ".composer *, .thread-links *, .top nav *, .top-end *, .thread-rows a";

await story(
  async ({ page }) => {
    await signIn(page);
    await begin(page, "[[say Hello]]");
    await ended(page);
    for (const [size, viewport] of Object.entries(SIZES)) {
      await page.setViewportSize(viewport);
      await page.route("**/v2/turn/start", (route) => route.fulfill({ status: 503, json: { detail: "The server has no time. Try again." } }));
      await page.getByLabel("Message to the agent").fill(`[[say Once more]]`);
      await page.getByRole("button", { name: "Send" }).click();
      const toast = page.locator(".toast.error", { hasText: "no time" });
      await toast.waitFor();
      await picture(page, `toast-${size}`);
      const box = await toast.boundingBox();
      for (const one of await page.locator(size === "desk" ? PRESSED : ".composer *, .top nav *, .top-end *").all()) {
        const other = await one.boundingBox();
        const isApart =
          other === null || other.x + other.width <= box.x || box.x + box.width <= other.x || other.y + other.height <= box.y || box.y + box.height <= other.y;
        assert.ok(isApart, `${size}: the message covers ${await one.evaluate((element) => element.outerHTML)}`);
      }
      await page.unroute("**/v2/turn/start");
      const before = await page.locator(".item.user").count();
      await page.getByRole("button", { name: "Send" }).click();
      await page.locator(".item.user").nth(before).waitFor();
      assert.equal(await page.locator(".toast").count(), 0);
      await ended(page);
    }
  },
  { allowed: ["503"] },
);
