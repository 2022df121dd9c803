// Takes a picture of a page: node shoot.mjs URL FILE WIDTH HEIGHT. draw.py runs it.

import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../../console/package.json", import.meta.url))("@playwright/test");
const [url, path, width, height] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: Number(width), height: Number(height) }, colorScheme: "light" });
await page.goto(url, { waitUntil: "networkidle" });
await page.screenshot({ path });
await browser.close();
