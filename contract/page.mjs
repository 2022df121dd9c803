// Uses the page of examples/page as users would, in a headless Chromium, from another origin than the service. Prints a line
// for each check.
//
//   node contract/page.mjs
//
// Environment variables: CINEQUERY_URL is the URL of a service that has movies and allows pages of the origin PAGE,
// http://localhost:PORT; CINEQUERY_USERNAME and CINEQUERY_PASSWORD are an administrator's, CINEQUERY_JWT_SECRET is the secret
// that signs tokens, CHROMIUM is the path of the browser, NODE_PATH the folder with playwright-core. The script creates and
// deletes a movie and two users.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";

// `import` does not look in NODE_PATH.
const { chromium } = createRequire(import.meta.url)("playwright-core");

const { CHROMIUM, CINEQUERY_URL, CINEQUERY_USERNAME, CINEQUERY_PASSWORD, CINEQUERY_JWT_SECRET, PAGE } = process.env;
const isComplete =
  CHROMIUM && CINEQUERY_URL && CINEQUERY_USERNAME && CINEQUERY_PASSWORD && CINEQUERY_JWT_SECRET && PAGE;
assert.ok(isComplete, "an environment variable is missing; see the top of page.mjs");

const PASSWORD = "a long password of its own";
const TOKEN = `${CINEQUERY_URL}/api/token`;
const MOVIES = `${CINEQUERY_URL}/api/v1/movies`;
const admin = await token(CINEQUERY_USERNAME, CINEQUERY_PASSWORD);
for (const name of ["anna", "ben"]) {
  await call(admin, "POST", `${CINEQUERY_URL}/api/v1/users`, { name, password: PASSWORD, role: "editor" });
}
const ben = await token("ben", PASSWORD);
// The title has characters of two bytes, and one of two units of UTF-16.
const TITLE = "Die Märchenbühne 🎭";
const created = { title: TITLE, genre: "drama", release_year: 1979, expiry_date: "2031-12-31" };
const { id } = await call(ben, "POST", MOVIES, created);

const server = await serving(Number(new URL(PAGE).port));
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});
const complaints = [];
const violations = [];

try {
  const early = await opened();
  const first = await tokens(early, () => submit(early, PASSWORD).then(() => shown(early)));
  const start = Date.now();
  const page = await opened();
  await signIn(page);
  await search(page);
  await suggestions(page);
  await completion(page);
  await edit(page);
  await conflict(page);
  await signOut(page);
  await renewal();
  await parallelRenewals();
  await secondExpiry();
  await rotation(early, first, start);
  await revoked();
  assert.deepEqual(complaints, [], "errors and warnings of the browser");
  assert.deepEqual(violations, [], "requests to other origins than those of the page and the service");
  say("console", "no errors, and none of CORS");
} finally {
  await browser.close();
  server.close();
  await call(admin, "DELETE", `${MOVIES}/${id}`);
  for (const name of ["anna", "ben"]) await call(admin, "DELETE", `${CINEQUERY_URL}/api/v1/users/${name}`);
}

async function signIn(page) {
  await submit(page, "wrong");
  await page.locator("#problem", { hasText: "the name or the password is wrong" }).waitFor();
  assert.ok(await page.locator("#catalogue").isHidden());
  await submit(page, PASSWORD);
  await shown(page);
  assert.ok(await page.locator("#sign-in").isHidden());
  const stored = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
  assert.deepEqual(stored, [0, 0, ""], "a token is stored");
  say("sign in", "after a wrong password; no token is stored");
}

async function search(page) {
  const filter = 'genre = "drama" and release_year >= 1960';
  await find(page, filter);
  const query = new URLSearchParams({ filter, order_by: "release_year desc, title", limit: 1000, count: "exact" });
  const { items, total } = await call(ben, "GET", `${MOVIES}?${query}`);
  assert.ok(total > 40, "three pages are needed");
  await responded(page, "GET", 200, () => page.locator("#order").selectOption("release_year desc, title"));
  assert.equal(await page.locator("#total").textContent(), `${total} movies`);
  const found = await column(page);
  for (; await page.locator("#next").isVisible(); found.push(...(await column(page)))) {
    await responded(page, "GET", 200, () => page.locator("#next").click());
  }
  assert.deepEqual(found, items.map(({ title }) => title));
  say("search", `sorted, ${total} movies on ${Math.ceil(total / 20)} pages`);
}

async function suggestions(page) {
  await find(page, `titel = "${TITLE}" && gnre = "drama"`, 400);
  // The number of problems, and the filter after the correction of the first one.
  for (const [problems, corrected, status] of [
    [1, `titel = "${TITLE}" and gnre = "drama"`, 400],
    [2, `title = "${TITLE}" and gnre = "drama"`, 400],
    [1, `title = "${TITLE}" and genre = "drama"`, 200],
  ]) {
    assert.equal(await page.locator("#problem p").count(), problems);
    await responded(page, "GET", status, () => page.locator("#problem button").first().click());
    assert.equal(await page.locator("#filter").inputValue(), corrected);
  }
  assert.deepEqual(await column(page), [TITLE]);
  assert.equal(await page.locator("#problem p").count(), 0);
  say("suggestions", "three applied, after characters of several bytes");
}

async function completion(page) {
  const filter = page.locator("#filter");
  await filter.fill(`title = "${TITLE}" and `);
  for (const [typed, choice] of [["ge", "genre"], ["", "="], ["'dr", "'drama'"], ["an", "and"]]) {
    // The caret is at the end of the text that was completed before.
    await filter.pressSequentially(typed);
    await page.locator("#candidates").getByRole("button", { name: choice, exact: true }).click();
    await page.waitForFunction((choice) => document.querySelector("#filter").value.endsWith(`${choice} `), choice);
  }
  assert.equal(await filter.inputValue(), `title = "${TITLE}" and genre = 'drama' and `);
  await filter.press("Backspace");
  await filter.fill(`title = "${TITLE}" and genre = 'drama'`);
  await responded(page, "GET", 200, () => filter.press("Enter"));
  assert.deepEqual(await column(page), [TITLE]);
  say("completion", "of a field, an operator, a value and a keyword");
}

async function edit(page) {
  await openEditor(page, { ...created });
  await page.locator("[name=release_year]").fill("1066");
  await responded(page, "PATCH", 400, () => save(page));
  await page.locator("#rejected", { hasText: "release_year must be from 1870 to 9999, found 1066" }).waitFor();
  await page.locator("[name=release_year]").fill("1980");
  const { request } = await responded(page, "PATCH", 200, () => save(page));
  assert.equal(request.headers()["if-match"], '"1"');
  assert.equal(request.postData(), '{"release_year":1980}');
  await page.locator("#editor").waitFor({ state: "hidden" });
  await page.locator("#movies td", { hasText: "1980" }).waitFor();
  say("edit", "with If-Match, after an invalid value");
}

async function conflict(page) {
  for (const [genre, year, decision] of [["comedy", "1981", "take"], ["noir", "1982", "keep"]]) {
    await find(page, `title = "${TITLE}"`);
    await openEditor(page, {});
    const { version } = await call(ben, "GET", `${MOVIES}/${id}`);
    await call(ben, "PATCH", `${MOVIES}/${id}`, { genre }, { "If-Match": `"${version}"` });
    await page.locator("[name=release_year]").fill(year);
    await responded(page, "PATCH", 412, () => save(page));
    await page.locator("#theirs", { hasText: `${TITLE}, ${genre}, 1980, 2031-12-31` }).waitFor();
    if (decision === "take") {
      await responded(page, "GET", 200, () => page.locator("#take-theirs").click());
      assert.deepEqual([await value(page, "genre"), await value(page, "release_year")], [genre, "1980"]);
      await page.locator("#cancel").click();
    } else {
      const { request } = await responded(page, "PATCH", 200, () => page.locator("#keep-mine").click());
      assert.equal(request.headers()["if-match"], `"${version + 1}"`);
      await page.locator("#editor").waitFor({ state: "hidden" });
    }
    const movie = await call(ben, "GET", `${MOVIES}/${id}`);
    const kept = decision === "keep";
    assert.deepEqual(
      [movie.genre, movie.release_year, movie.version],
      [genre, kept ? 1982 : 1980, version + (kept ? 2 : 1)],
    );
  }
  say("conflict", "412 shows the version of another user; one is taken, one is overwritten");
}

async function signOut(page) {
  const issued = await tokens(page, () => page.reload().then(() => submit(page, PASSWORD)).then(() => shown(page)));
  await page.locator("#sign-out").click();
  await page.locator("#sign-in").waitFor();
  assert.ok(await page.locator("#catalogue").isHidden());
  const renewed = await form({ grant_type: "refresh_token", refresh_token: issued.refresh_token });
  assert.equal((await renewed.json()).code, "invalid_grant");
  await page.waitForTimeout(1000); // revocations apply within a second
  const response = await fetch(MOVIES, { headers: { Authorization: `Bearer ${issued.access_token}` } });
  assert.equal(response.status, 401);
  say("sign out", "revokes both tokens");
}

async function renewal() {
  const page = await opened();
  const { requests } = await withExpiredToken(page, 1, async () => {
    await submit(page, PASSWORD);
    await shown(page);
  });
  assert.deepEqual(requests, ["POST token 200", "GET movies 401", "POST token 200", "GET movies 200"]);
  // Now with preflights of the browser, which are not sent while the test replaces responses.
  await find(page, 'genre = "war"');
  assert.equal(await page.locator("#problem").textContent(), "");
  say("renewal", "of an expired token, which the user does not notice");
}

async function parallelRenewals() {
  const page = await opened();
  await submit(page, PASSWORD);
  await shown(page);
  const requests = recorded(page);
  await withExpiredRequests(page, 2);
  await page.evaluate(() => {
    document.querySelector("#search").requestSubmit();
    document.querySelector("#order").dispatchEvent(new Event("change"));
  });
  await until(() => requests.filter((it) => it === "GET movies 200").length === 2, () => requests.join());
  assert.deepEqual(requests.sort(), ["GET movies 200", "GET movies 200", "GET movies 401", "GET movies 401", "POST token 200"]);
  say("parallel requests", "share one renewal");
}

async function secondExpiry() {
  const page = await opened();
  const { requests } = await withExpiredToken(page, 2, async () => {
    await submit(page, PASSWORD);
    await page.locator("#problem", { hasText: "the token has expired" }).waitFor();
  });
  assert.deepEqual(requests, ["POST token 200", "GET movies 401", "POST token 200", "GET movies 401"]);
  assert.ok(await page.locator("#sign-in").isVisible());
  say("second expiry", "does not renew forever: the user signs in again");
}

async function rotation(page, first, start) {
  // In the first 10 seconds, a renewal returns the same refresh token.
  await page.waitForTimeout(Math.max(0, start + 11_000 - Date.now()));
  await withExpiredRequests(page, 1);
  const renewed = await tokens(page, () => find(page, 'genre = "war"', 401));
  assert.notEqual(renewed.refresh_token, first.refresh_token);
  await page.unrouteAll();
  const pending = page.waitForRequest(`${TOKEN}/revoke`);
  await page.locator("#sign-out").click();
  assert.equal(new URLSearchParams((await pending).postData()).get("token"), renewed.refresh_token);
  say("rotation", "the page uses the new refresh token");
}

async function revoked() {
  const page = await opened();
  await submit(page, PASSWORD);
  await shown(page);
  await call(admin, "POST", `${CINEQUERY_URL}/api/v1/revocations`, { subject: "anna" });
  await page.waitForTimeout(1000); // revocations apply within a second
  await page.locator("#search button").last().click();
  await page.locator("#sign-in").waitFor();
  assert.notEqual(await page.locator("#problem").textContent(), "");
  say("revocation", "the user signs in again");
}

/** Serves the page, for the service of the test. */
async function serving(port) {
  const types = { "/index.html": "text/html", "/page.js": "text/javascript" };
  const server = createServer(async (request, response) => {
    const path = request.url === "/" ? "/index.html" : request.url;
    // Browsers request an icon.
    if (!types[path]) return response.writeHead(204).end();
    const text = await readFile(new URL(`../examples/page${path}`, import.meta.url), "utf8");
    const served = text.replace("http://127.0.0.1:8080", CINEQUERY_URL);
    response.writeHead(200, { "Content-Type": types[path] }).end(served);
  });
  await new Promise((listening) => server.listen(port, "localhost", listening));
  return server;
}

/** Opens the page in a new profile, and records what the browser complains about. */
async function opened() {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(10_000);
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // The browser logs each 4xx response as an error, but some checks expect one.
    const isErrorResponse = /^Failed to load resource: the server responded with a status of 4/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !isErrorResponse) complaints.push(message.text());
  });
  page.on("request", (request) => {
    if (![PAGE, CINEQUERY_URL].includes(new URL(request.url()).origin)) violations.push(request.url());
  });
  await page.goto(PAGE);
  return page;
}

async function submit(page, password) {
  await page.locator("[name=username]").fill("anna");
  await page.locator("[name=password]").fill(password);
  await page.locator("#sign-in button").click();
}

function shown(page) {
  return page.locator("#movies tr").first().waitFor();
}

/** Performs an action, and returns its first response with this method from the movies, once the page has handled it. */
async function responded(page, method, status, action) {
  const pending = page.waitForResponse(
    (response) => response.request().method() === method && response.url().startsWith(MOVIES),
  );
  const [response] = await Promise.all([pending, action()]);
  assert.equal(response.status(), status);
  await page.locator("body[aria-busy=false]").waitFor();
  return { request: response.request() };
}

async function find(page, filter, status = 200) {
  await page.locator("#filter").fill(filter);
  await responded(page, "GET", status, () => page.locator("#filter").press("Enter"));
}

function column(page) {
  return page.locator("#movies tr td:first-child").allTextContents();
}

function value(page, name) {
  return page.locator(`#edit [name=${name}]`).inputValue();
}

async function openEditor(page, expected) {
  await page.locator("#movies tr", { hasText: TITLE }).getByRole("button", { name: "Edit" }).click();
  for (const [name, text] of Object.entries(expected)) assert.equal(await value(page, name), String(text));
}

function save(page) {
  return page.locator("#edit").getByRole("button", { name: "Save" }).click();
}

/** Lists the requests for tokens and movies with their responses. */
function recorded(page) {
  const requests = [];
  page.on("response", (response) => {
    const { pathname } = new URL(response.url());
    const name = pathname.split("/").at(-1);
    const method = response.request().method();
    if (method !== "OPTIONS" && ["token", "movies"].includes(name)) requests.push(`${method} ${name} ${response.status()}`);
  });
  return requests;
}

/** Performs an action while the first `count` responses of /api/token have a token that has expired: the one of the
 *  response, signed with times of the past. Waiting until a token expires would take longer than the leeway of 5 seconds. */
async function withExpiredToken(page, count, action) {
  const requests = recorded(page);
  let left = count;
  await page.route(TOKEN, async (route) => {
    const response = await route.fetch();
    const json = await response.json();
    if (left-- > 0) json.access_token = expired(json.access_token);
    return route.fulfill({ response, json });
  });
  await action();
  await page.unrouteAll();
  return { requests: [...requests] };
}

/** Sends the next `count` requests for movies with their tokens of the past. */
function withExpiredRequests(page, count) {
  let left = count;
  return page.route(/\/api\/v1\/movies/, (route) => {
    if (route.request().method() !== "GET" || left-- <= 0) return route.continue();
    const headers = route.request().headers();
    return route.continue({ headers: { ...headers, authorization: `Bearer ${expired(headers.authorization.slice(7))}` } });
  });
}

/** The same token, issued two hours ago for an hour. */
function expired(token) {
  const [header, claims] = token.split(".");
  const now = Math.floor(Date.now() / 1000);
  const past = { ...JSON.parse(Buffer.from(claims, "base64url")), iat: now - 7200, exp: now - 3600 };
  const signed = `${header}.${Buffer.from(JSON.stringify(past)).toString("base64url")}`;
  return `${signed}.${createHmac("sha256", CINEQUERY_JWT_SECRET).update(signed).digest("base64url")}`;
}

/** Returns the tokens that the page gets during an action. */
async function tokens(page, action) {
  const pending = page.waitForResponse(TOKEN);
  await action();
  return (await pending).json();
}

async function until(isDone, state) {
  for (let attempt = 0; !isDone(); attempt++) {
    assert.ok(attempt < 200, state());
    await new Promise((done) => setTimeout(done, 50));
  }
}

function form(fields) {
  return fetch(TOKEN, { method: "POST", body: new URLSearchParams(fields) });
}

async function token(username, password) {
  const response = await form({ grant_type: "password", username, password });
  assert.equal(response.status, 200);
  return (await response.json()).access_token;
}

/** Sends a request without the page. */
async function call(token, method, url, body, headers) {
  const response = await fetch(url, {
    method,
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${url}: ${text}`);
  return text && JSON.parse(text);
}

function say(what, text) {
  console.log(`${what}: ${text}`);
}
