// Measures the console in Chromium against a service that signs users in by itself (`cinequery demo`):
//
//   CINEQUERY_URL=http://127.0.0.1:8080 CHROMIUM=/usr/bin/chromium npm --prefix console run measure [ROWS]
//
// Prints the time to the first row, the time from a key to the diagnostics, and the memory while ROWS rows (default: all)
// are scrolled past.

import { chromium } from "@playwright/test";

const url = process.env.CINEQUERY_URL ?? "http://127.0.0.1:8080";
const rows = Number(process.argv[2] ?? Infinity);
const ROUNDS = 15;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});

/** Notes when the page first has an element, in milliseconds since the navigation started. */
function noteFirst(selector) {
  new MutationObserver((_, observer) => {
    if (!document.querySelector(selector)) return;
    window.noted = performance.now();
    observer.disconnect();
  }).observe(document, { childList: true, subtree: true });
}

function summary(name, times) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share) => Math.round(sorted[Math.floor(share * (sorted.length - 1))]);
  console.log(`${name}: median ${at(0.5)} ms, 90 % below ${at(0.9)} ms, ${times.length} rounds`);
}

async function firstRow(isCached) {
  const times = [];
  let context = await browser.newContext();
  for (let round = 0; round <= ROUNDS; round++) {
    if (!isCached) context = await browser.newContext();
    const page = await context.newPage();
    await page.addInitScript(noteFirst, "tr[data-index]");
    await page.goto(url);
    await page.waitForFunction(() => window.noted);
    // The first round warms the service up, and the cache of the browser.
    if (round > 0) times.push(await page.evaluate(() => window.noted));
    await page.close();
    if (!isCached) await context.close();
  }
  summary(`first row, ${isCached ? "files in the cache" : "first visit"}`, times);
}

async function diagnostics() {
  const page = await browser.newPage();
  await page.goto(url);
  const filter = page.getByRole("textbox", { name: "Filter" });
  await filter.click();
  const times = [];
  for (let round = 0; round < ROUNDS; round++) {
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.press("Delete");
    await page.keyboard.type("release_year");
    await page.waitForTimeout(300);
    await page.evaluate(() => {
      window.shown = new Promise((done) => {
        let start;
        addEventListener("keydown", () => (start = performance.now()), { capture: true, once: true });
        const wait = () => {
          const isShown = start && document.querySelector(".problems")?.textContent.includes("release_yearr");
          if (isShown) done(performance.now() - start);
          else requestAnimationFrame(wait);
        };
        wait();
      });
    });
    await page.keyboard.type("r");
    times.push(await page.evaluate(() => window.shown));
  }
  summary("key to diagnostics", times);
  await page.close();
}

async function scrolling() {
  const page = await browser.newPage();
  const session = await page.context().newCDPSession(page);
  await page.goto(url);
  await page.locator("tr[data-index]").first().waitFor();
  let step = 0;
  const measure = async (seen) => {
    await session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await session.send("Runtime.getHeapUsage");
    const { nodes } = await session.send("Memory.getDOMCounters");
    console.log(`${seen} rows scrolled past: ${(usedSize / 1e6).toFixed(1)} MB of JavaScript, ${nodes} nodes`);
  };
  for (let seen = 0; ; ) {
    if (seen >= step) {
      await measure(seen);
      step = seen < 100_000 ? seen + 20_000 : seen + 100_000;
    }
    const last = await page.evaluate(async () => {
      const table = document.querySelector(".table");
      const index = () => Math.max(...[...document.querySelectorAll("tr[data-index]")].map((row) => Number(row.dataset.index)));
      const before = index();
      table.scrollTop = table.scrollHeight;
      for (let wait = 0; wait < 200 && index() <= before; wait++) await new Promise(requestAnimationFrame);
      return index();
    });
    if (last + 1 >= rows || last <= seen) {
      await measure(last + 1);
      return;
    }
    seen = last;
  }
}

try {
  await firstRow(false);
  await firstRow(true);
  await diagnostics();
  await scrolling();
} finally {
  await browser.close();
}
