// Uses the page at /docs as a user would, in a headless Chromium. Prints a line for each check.
//
//   node contract/browser.mjs FOLDER
//
// Screenshots are written to FOLDER. Environment variables: CINEQUERY_URL is the URL of a service that has movies,
// CINEQUERY_USERNAME and CINEQUERY_PASSWORD are an administrator's, CHROMIUM is the path of the browser, NODE_PATH
// the folder with playwright-core. The script creates and deletes movies, queries and users, and changes the password.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createServer, request as forward } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

// `import` does not look in NODE_PATH.
const { chromium } = createRequire(import.meta.url)("playwright-core");

const { CHROMIUM, CINEQUERY_URL, CINEQUERY_USERNAME, CINEQUERY_PASSWORD } = process.env;
const folder = process.argv[2];
const isComplete = folder && CHROMIUM && CINEQUERY_URL && CINEQUERY_USERNAME && CINEQUERY_PASSWORD;
assert.ok(isComplete, "FOLDER or an environment variable is missing; see the top of browser.mjs");
const MOVIES = `{"title":"Vertigo","genre":"thriller","release_year":1958,"expiry_date":"2031-12-31"}\n`;
// The page is loaded through a proxy that serves the service below this path and strips it. A request outside the
// path returns 404, so a URL that is not relative fails.
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
  await missing(page);
  await diagnostic(page);
  await everyOperation(page);

  const foreign = requests.filter((url) => new URL(url).origin !== origin);
  assert.deepEqual(foreign, [], "requests to other origins");
  assert.deepEqual(complaints, [], "errors and violations of the content security policy");
  say("network", `${requests.length} requests, none to other origins`);
  say("console", "no errors, no violations of the content security policy");
} finally {
  await browser.close();
  proxy.close();
}

/** Starts a proxy that strips the path from requests below it and returns 404 for all others. */
async function stripping(path, { hostname, port }) {
  const proxy = createServer((request, response) => {
    if (!request.url.startsWith(`${path}/`)) return response.writeHead(404).end();
    const { method, headers } = request;
    const to = { hostname, port, method, headers, path: request.url.slice(path.length) };
    const forwarded = forward(to, (reply) => {
      response.writeHead(reply.statusCode, reply.rawHeaders);
      reply.pipe(response);
    });
    request.pipe(forwarded);
  });
  await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));
  return proxy;
}

/** Records the requests of the page, and the errors and warnings of the browser. */
function watch(page) {
  const requests = [];
  const complaints = [];
  page.on("request", (request) => {
    // data: and blob: URLs cause no network traffic.
    if (!/^(data|blob):/.test(request.url())) requests.push(request.url());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // The browser logs each 4xx response as an error, but some checks expect one.
    const isErrorResponse = /^Failed to load resource: the server responded with a status of 4/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !isErrorResponse) complaints.push(message.text());
  });
  return { requests, complaints };
}

async function open(page) {
  // /docs/ redirects to /docs.
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
  assert.deepEqual(fetched, [], "files fetched again on reload");
  say("page", `${files.length} scripts and style sheets, all cached on reload`);
}

async function authorize(page) {
  await page.locator(".btn.authorize").click();
  const form = page.locator(".auth-container").first();
  const username = form.getByLabel("username");
  assert.ok(await username.evaluate((field) => field === document.activeElement), "the username has no focus");
  await screenshot(page, "authorize");
  const empty = page.locator(".auth-container").last().getByRole("button", { name: "Apply credentials" });
  await empty.click();
  await username.fill(CINEQUERY_USERNAME);
  await form.getByLabel("password").fill(CINEQUERY_PASSWORD);
  await form.getByLabel("password").press("Enter");
  await form.getByText("Logout").waitFor();
  const kept = await page.evaluate(() => localStorage.getItem("authorized"));
  assert.ok(kept.includes("access_token") && !kept.includes(CINEQUERY_PASSWORD), "expected the token and no password in the storage");
  await page.locator(".close-modal").click();
  say("authorize", "with user name and password; the browser stores the token, not the password");
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
  assert.ok(Math.max(...found) > 0, `no example finds a movie: ${found}`);
  await examples.selectOption({ index: found.findIndex((count) => count > 0) });
  await execute(page, operation);
  await screenshot(page, "search", operation);
  await close(operation);
  say("search", `${names.length} examples find ${found.join(", ")} movies`);
}

async function create(page) {
  const operation = await opened(page, "createMovie");
  const { status, body } = await execute(page, operation);
  assert.equal(status, 201, body);
  await screenshot(page, "create", operation);
  await close(operation);
  await deleteMovie(page, JSON.parse(body).id);
  say("create", "201 for the unchanged example");
}

/** Swagger UI must know that the documented 4XX includes 404. */
async function missing(page) {
  const operation = await opened(page, "getMovie");
  await operation.locator("[data-param-name=id] input").fill("00000000-0000-7000-8000-000000000000");
  const { status, body } = await execute(page, operation);
  assert.equal(status, 404, body);
  assert.equal(await operation.locator(".response-undocumented").count(), 0, "404 is called undocumented");
  await close(operation);
  say("missing", "404 is documented");
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
  // Quotes in a message are escaped in the JSON that is shown.
  for (const text of [message, help].map((text) => JSON.stringify(text))) {
    assert.ok((await shown.textContent()).includes(text), `${text} is not shown`);
  }
  // The JSON is highlighted and has one member per line.
  assert.ok((await shown.locator("span").count()) > 20 && (await shown.textContent()).includes("\n  "));
  await screenshot(page, "diagnostic", operation);
  await close(operation);
  say("diagnostic", `400 shows: ${message}; ${help}`);
}

/** Executes every operation with its examples. Creations come before operations that need a record; operations that
 *  revoke tokens come last. */
async function everyOperation(page) {
  await page.reload();
  const order = ["post", "get", "put", "patch", "delete"];
  const last = ["revokeTokens", "signOut", "renewSession", "endSession", "changePassword"];
  const { paths } = await (await fetch(`${base}/openapi.json`)).json();
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId }]) => ({ path, method, operationId })),
  );
  const rank = ({ method, operationId }) => {
    if (last.includes(operationId)) return 100 + last.indexOf(operationId);
    // The example of a batch is the same movie, which it skips.
    if (operationId === "createMovie") return -1;
    // The legacy routes create the same movie, so they run after it is deleted.
    return order.indexOf(method) + (operationId.startsWith("legacy") ? 10 : 0);
  };
  operations.sort((a, b) => rank(a) - rank(b));
  // The records created by POST, by path: they have the values for `{id}` and `{name}` below it.
  const created = {};
  const failed = [];
  for (const { path, method, operationId } of operations) {
    const operation = await opened(page, operationId);
    for (const [, parent, name] of path.matchAll(/^(.*?)\/\{(\w+)\}/g)) {
      const field = operation.locator(`[data-param-name=${name}] input`);
      await field.fill(created[parent]?.[name] ?? "nothing");
    }
    if (["signIn", "startSession"].includes(operationId)) {
      const credentials = { username: CINEQUERY_USERNAME, password: CINEQUERY_PASSWORD };
      await operation.locator("textarea").fill(JSON.stringify(credentials));
    }
    if (operationId === "changePassword") {
      const passwords = { current_password: CINEQUERY_PASSWORD, new_password: `another ${CINEQUERY_PASSWORD}` };
      await operation.locator("textarea").fill(JSON.stringify(passwords));
    }
    const file = operation.locator("input[type=file]");
    if ((await file.count()) > 0) {
      await file.setInputFiles({ name: "movies.ndjson", mimeType: "", buffer: Buffer.from(MOVIES) });
      // The movie exists: an import that is all or nothing would be rejected.
      await operation.locator("[data-param-name=on_conflict] select").selectOption("skip");
    }
    await ifMatch(operation);
    const { status, body } = await execute(page, operation);
    if (method === "post" && status === 201) created[path] = JSON.parse(body);
    if (status >= 400) failed.push(`${operationId} ${status} ${body}`);
    await close(operation);
  }
  assert.deepEqual(failed, [], "operations that fail with their examples");
  say("try it out", `all ${operations.length} operations succeed`);
}

async function ifMatch(operation) {
  const field = operation.locator("[data-param-name=If-Match] input");
  if ((await field.count()) > 0) await field.fill("*");
}

/** Opens the section of an operation and returns it. */
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

/** Presses Execute and returns the response once the page shows it. */
async function execute(page, operation) {
  const pending = page.waitForResponse((response) => response.request().resourceType() === "fetch").catch(() => undefined);
  await operation.locator(".btn.execute").click();
  const response = await pending;
  const name = await operation.getAttribute("id");
  if (!response) {
    const errors = await operation.locator(".validation-errors, .live-responses-table, .invalid").allInnerTexts();
    assert.fail(`${name}: no request was sent: ${errors.join("; ")}`);
  }
  const shown = operation.locator(".live-responses-table tr.response .response-col_status").first();
  await shown.filter({ hasText: String(response.status()) }).waitFor();
  const body = response.status() === 204 ? "" : await response.text();
  return { status: response.status(), body };
}

/** Saves a screenshot of the window, or of an operation with its input and response. */
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
