// In a low window (a phone with its keyboard, landscape, 400 % zoom) the turns have room, and "Send" can be reached.
import { assert, begin, fits, picture, signIn, story } from "./browser.mjs";

const LOW = [[320, 256], [360, 400], [740, 360], [1000, 400]];

await story(async ({ page }) => {
  await signIn(page);
  await begin(page, "[[run touch low.txt]]", { Approvals: "untrusted" });
  await page.locator(".request").waitFor();
  for (const [width, height] of LOW) {
    const name = `${width}x${height}`;
    await page.setViewportSize({ width, height });
    const turns = await page.getByRole("log").boundingBox();
    assert.ok(turns.height > height * 0.7, `${name}: the turns are ${turns.height} high`);
    await scroll(page, 5000); // by hand: a script may also scroll what a hand cannot
    const button = page.getByRole("button", { name: "Steer" });
    await page.waitForFunction(isInWindow, await button.elementHandle());
    await picture(page, `low-${name}`);
    await fits(page, name);
    await scroll(page, -5000);
    await page.waitForFunction(isInWindow, await page.getByRole("link", { name: "Inbox" }).elementHandle());
  }
  await page.getByRole("button", { name: "Decline", exact: false }).first().click();
  await page.locator(".request").waitFor({ state: "detached" });
});

/** Turn the wheel above what is not the turns, which scroll by themselves. */
async function scroll(page, pixels) {
  const { x, y } = await page.evaluate(() => {
    const places = [...document.querySelectorAll(".top, .thread-top, .composer")].map((one) => one.getBoundingClientRect());
    const seen = places.find((place) => place.top < innerHeight && place.bottom > 0);
    return { x: seen.left + 8, y: (Math.max(seen.top, 0) + Math.min(seen.bottom, innerHeight)) / 2 };
  });
  await page.mouse.move(x, y);
  await page.mouse.wheel(0, pixels);
}

/** In the page. */
function isInWindow(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}
