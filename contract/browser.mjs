// What people do on the page at /docs, done in a headless Chromium: one line for each proof.
//
//   node contract/browser.mjs FOLDER
//
// FOLDER takes the screenshots. CINEQUERY_URL names a service that has films, CINEQUERY_USERNAME and
// CINEQUERY_PASSWORD an administrator of it; CHROMIUM is the browser, NODE_PATH where playwright-core is.
// Movies, queries and users are created and deleted.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createServer, request as forward } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

// `import` does not look in NODE_PATH.
const { chromium } = createRequire(import.meta.url)("playwright-core");

const { CHROMIUM, CINEQUERY_URL, CINEQUERY_USERNAME, CINEQUERY_PASSWORD } = process.env;
const folder = process.argv[2];
assert.ok(folder && CHROMIUM && CINEQUERY_URL && CINEQUERY_USERNAME && CINEQUERY_PASSWORD, "see the first lines");
const MOVIES = `{"title":"Vertigo","genre":"thriller","release_year":1958,"expiry_date":"2031-12-31"}\n`;
// The page is used through a proxy that serves the service below a path and strips that: what leaves the path
// is 404.
const PATH = "/movies-api";
const proxy = await stripping(PATH, new URL(CINEQUERY_URL));
const origin = `http://127.0.0.1:${proxy.address().port}`;
const base = `${origin}${PATH}`;
mkdirSync(folder, { recursive: true });

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(10_000);
  const { requests, complaints } = watch(page);

  await open(page);
  await screenshot(page, "page");
  await authorize(page);
  await signedInAfterReload(page);
  await searchByExample(page);
  await create(page);
  await diagnostic(page);
  await everyOperation(page);

  const foreign = requests.filter((url) => new URL(url).origin !== origin);
  assert.deepEqual(foreign, [], "requests to elsewhere");
  assert.deepEqual(complaints, [], "errors and violations of the policy");
  say("network", `${requests.length} requests, none to elsewhere`);
  say("console", "no errors, no violations of the policy");
} finally {
  await browser.close();
  proxy.close();
}

/** A proxy that strips the path from requests below it, and knows no others. */
async function stripping(path, { hostname, port }) {
  const proxy = createServer((request, response) => {
    if (!request.url.startsWith(`${path}/`)) return response.writeHead(404).end();
    const { method, headers } = request;
    const to = { hostname, port, method, headers, path: request.url.slice(path.length) };
    const passed = forward(to, (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(response);
    });
    request.pipe(passed);
  });
  await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));
  return proxy;
}

/** Notes the requests of the page, and what the browser complains of. */
function watch(page) {
  const requests = [];
  const complaints = [];
  page.on("request", (request) => {
    // What the page has made itself does not travel.
    if (!/^(data|blob):/.test(request.url())) requests.push(request.url());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // A refusal is an answer like any other, and the browser calls it an error.
    const isRefusal = /^Failed to load resource: the server responded with a status of 4/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !isRefusal) complaints.push(message.text());
  });
  return { requests, complaints };
}

async function open(page) {
  // The slash leads to the page without it.
  const response = await page.goto(`${base}/docs/`);
  await page.locator(".opblock").first().waitFor();
  assert.match(response.headers()["content-security-policy"], /^default-src 'none'/);
  await page.reload();
  await page.locator(".opblock").first().waitFor();
  const files = await page.evaluate(() =>
    performance
      .getEntriesByType("resource")
      .filter(({ name }) => /\/docs\/.*\.(js|css)$/.test(name))
      .map(({ name, transferSize }) => ({ name, transferSize })),
  );
  const fetched = files.filter(({ transferSize }) => transferSize > 0);
  assert.ok(files.length > 0);
  assert.deepEqual(fetched, [], "files fetched again");
  say("page", `${files.length} scripts and style sheets, on reload none of them is fetched again`);
}

async function authorize(page) {
  await page.locator(".btn.authorize").click();
  const form = page.locator(".auth-container").first();
  const username = form.getByLabel("username");
  assert.ok(await username.evaluate((field) => field === document.activeElement), "the cursor is elsewhere");
  await screenshot(page, "authorize");
  const empty = page.locator(".auth-container").last().getByRole("button", { name: "Apply credentials" });
  await empty.click();
  await username.fill(CINEQUERY_USERNAME);
  await form.getByLabel("password").fill(CINEQUERY_PASSWORD);
  await form.getByLabel("password").press("Enter");
  await form.getByText("Logout").waitFor();
  const kept = await page.evaluate(() => localStorage.getItem("authorized"));
  assert.ok(kept.includes("access_token") && !kept.includes(CINEQUERY_PASSWORD), "what the browser keeps");
  await page.locator(".close-modal").click();
  say("authorize", "by user and password; the browser keeps the token, and not the password");
}

async function signedInAfterReload(page) {
  await page.reload();
  await page.locator(".btn.authorize.locked").waitFor();
  const operation = await opened(page, "getSchema");
  const { status, body } = await execute(page, operation);
  assert.equal(status, 200, body);
  await close(operation);
  say("reload", "still authorized");
}

async function searchByExample(page) {
  const operation = await opened(page, "listMovies");
  const examples = operation.locator("[data-param-name=filter] .examples-select-element");
  const names = await examples.locator("option").allTextContents();
  const found = [];
  for (const name of names) {
    await examples.selectOption({ label: name });
    const { status, body } = await execute(page, operation);
    assert.equal(status, 200, body);
    found.push(JSON.parse(body).items.length);
  }
  assert.ok(Math.max(...found) > 0, `no example finds a film: ${found}`);
  await examples.selectOption({ index: found.findIndex((count) => count > 0) });
  await execute(page, operation);
  await screenshot(page, "search", operation);
  await close(operation);
  say("search", `${names.length} examples to choose from find ${found.join(", ")} films`);
}

async function create(page) {
  const operation = await opened(page, "createMovie");
  const { status, body } = await execute(page, operation);
  assert.equal(status, 201, body);
  await screenshot(page, "create", operation);
  await close(operation);
  await deleteMovie(page, JSON.parse(body).id);
  say("create", "201 for the example as it stands");
}

async function deleteMovie(page, id) {
  const operation = await opened(page, "deleteMovie");
  await operation.locator("[data-param-name=id] input").fill(id);
  await ifMatch(operation);
  const { status, body } = await execute(page, operation);
  assert.equal(status, 204, body);
  await close(operation);
}

async function diagnostic(page) {
  const operation = await opened(page, "listMovies");
  await operation.locator("[data-param-name=filter] input").fill('gnre = "drama"');
  const { status, body } = await execute(page, operation);
  assert.equal(status, 400, body);
  const [{ message, help }] = JSON.parse(body).diagnostics;
  const shown = operation.locator(".live-responses-table .highlight-code").first();
  for (const text of [message, help]) {
    assert.ok((await shown.textContent()).includes(text), `${text} is not shown`);
  }
  // Highlighted, and a member a line.
  assert.ok((await shown.locator("span").count()) > 20 && (await shown.textContent()).includes("\n  "));
  await screenshot(page, "diagnostic", operation);
  await close(operation);
  say("diagnostic", `400 shows: ${message}; ${help}`);
}

/** Tries every operation: what is made comes before what needs it, and what ends tokens is last. */
async function everyOperation(page) {
  await page.reload();
  const order = ["post", "get", "put", "patch", "delete"];
  const last = ["signOut", "revokeTokens"];
  const { paths } = await (await fetch(`${base}/openapi.json`)).json();
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId }]) => ({ path, method, operationId })),
  );
  const rank = ({ method, operationId }) => {
    if (last.includes(operationId)) return 100;
    // The classic routes create the same film, once it is deleted.
    return order.indexOf(method) + (operationId.startsWith("classic") ? 10 : 0);
  };
  operations.sort((a, b) => rank(a) - rank(b));
  // What POST has made, by its path: what `{id}` and `{name}` below it stand for.
  const made = {};
  const refused = [];
  for (const { path, method, operationId } of operations) {
    const operation = await opened(page, operationId);
    for (const [, parent, name] of path.matchAll(/^(.*?)\/\{(\w+)\}/g)) {
      const field = operation.locator(`[data-param-name=${name}] input`);
      await field.fill(made[parent]?.[name] ?? "nothing");
    }
    if (operationId === "signIn") {
      const credentials = { username: CINEQUERY_USERNAME, password: CINEQUERY_PASSWORD };
      await operation.locator("textarea").fill(JSON.stringify(credentials));
    }
    const file = operation.locator("input[type=file]");
    if ((await file.count()) > 0) {
      await file.setInputFiles({ name: "movies.ndjson", mimeType: "", buffer: Buffer.from(MOVIES) });
    }
    await ifMatch(operation);
    const { status, body } = await execute(page, operation);
    if (method === "post" && status === 201) made[path] = JSON.parse(body);
    if (status >= 400) refused.push(`${operationId} ${status} ${body}`);
    await close(operation);
  }
  assert.deepEqual(refused, [], "operations that are refused with their examples");
  say("try it out", `${operations.length} operations, and all succeed`);
}

async function ifMatch(operation) {
  const field = operation.locator("[data-param-name=If-Match] input");
  if ((await field.count()) > 0) await field.fill("*");
}

/** The section of an operation, opened. */
async function opened(page, operationId) {
  const operation = page.locator(`.opblock[id$="-${operationId}"]`);
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".btn.execute").waitFor();
  return operation;
}

async function close(operation) {
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".btn.execute").waitFor({ state: "detached" });
}

/** Presses Execute; the answer, once the page shows it. */
async function execute(page, operation) {
  const answer = page.waitForResponse((response) => response.request().resourceType() === "fetch").catch(() => undefined);
  await operation.locator(".btn.execute").click();
  const response = await answer;
  const name = await operation.getAttribute("id");
  if (!response) {
    const errors = await operation.locator(".validation-errors, .live-responses-table, .invalid").allInnerTexts();
    assert.fail(`${name}: nothing was sent: ${errors.join("; ")}`);
  }
  const shown = operation.locator(".live-responses-table tr.response .response-col_status").first();
  await shown.filter({ hasText: String(response.status()) }).waitFor();
  const body = response.status() === 204 ? "" : await response.text();
  return { status: response.status(), body };
}

/** The window; of an operation what was filled in and what was answered. */
async function screenshot(page, name, operation) {
  const path = join(folder, `${name}.png`);
  if (!operation) return page.screenshot({ path });
  const top = await operation.boundingBox();
  const bottom = await operation.locator(".live-responses-table").boundingBox();
  const scrolled = await page.evaluate(() => window.scrollY);
  const clip = { ...top, y: top.y + scrolled, height: bottom.y + bottom.height - top.y };
  return page.screenshot({ path, fullPage: true, clip });
}

function say(what, text) {
  console.log(`${what}: ${text}`);
}
