// Uses the service from pages of other origins in a headless Chromium, with the requests of docs/browser.md. Prints a line for
// each check.
//
//   node contract/cors.mjs
//
// Environment variables: CINEQUERY_URL is the URL of a service that has movies and allows pages of the origin PAGE,
// http://localhost:PORT; CINEQUERY_USERNAME and CINEQUERY_PASSWORD are an administrator's, CHROMIUM is the path of the
// browser, NODE_PATH the folder with playwright-core. The script creates and deletes a movie.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";

// `import` does not look in NODE_PATH.
const { chromium } = createRequire(import.meta.url)("playwright-core");

const { CHROMIUM, CINEQUERY_URL, CINEQUERY_USERNAME, CINEQUERY_PASSWORD, PAGE } = process.env;
const isComplete = CHROMIUM && CINEQUERY_URL && CINEQUERY_USERNAME && CINEQUERY_PASSWORD && PAGE;
assert.ok(isComplete, "an environment variable is missing; see the top of cors.mjs");
const listed = await serving(Number(new URL(PAGE).port));
const other = await serving(0);
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});

try {
  const page = await opened(PAGE);
  const { status, body } = await send(page, "POST", "/api/token", {
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username: CINEQUERY_USERNAME, password: CINEQUERY_PASSWORD }),
  });
  assert.equal(status, 200, body);
  const Authorization = `Bearer ${JSON.parse(body).access_token}`;
  const json = { Authorization, "Content-Type": "application/json" };
  say("sign in", "with JSON, which needs a preflight");

  const movie = { title: "Stalker", genre: "drama", release_year: 1979, expiry_date: "2031-12-31" };
  const created = await send(page, "POST", "/api/v1/movies", {
    headers: { ...json, "Idempotency-Key": crypto.randomUUID() },
    body: JSON.stringify(movie),
  });
  assert.equal(created.status, 201, created.body);
  const { id } = JSON.parse(created.body);
  assert.ok(created.headers.location.endsWith(id) && created.headers.etag && created.headers["x-request-id"]);
  say("create", "reads Location, ETag and X-Request-Id");

  const query = new URLSearchParams({ filter: 'genre = "drama"', order_by: "release_year desc", limit: 2, count: "exact" });
  const found = await send(page, "GET", `/api/v1/movies?${query}`, {
    headers: { Authorization, Prefer: "server-timing", traceparent: `00-${"1".repeat(32)}-${"2".repeat(16)}-01` },
  });
  assert.equal(found.status, 200, found.body);
  assert.ok(JSON.parse(found.body).total > 2);
  assert.match(found.headers["server-timing"], /total;dur=/);
  assert.equal(found.headers["preference-applied"], "server-timing");
  const [, next] = found.headers.link.match(/<([^>]+)>; rel="next"/);
  const second = await send(page, "GET", new URL(next, found.url), { headers: { Authorization } });
  assert.equal(JSON.parse(second.body).items.length, 2);
  say("search", "reads Link, Server-Timing and Preference-Applied, and follows the link");

  const path = `/api/v1/movies/${id}`;
  const patch = { body: JSON.stringify({ genre: "science fiction" }), headers: { ...json, "If-Match": created.headers.etag } };
  assert.equal((await send(page, "PATCH", path, patch)).status, 200);
  const stale = await send(page, "PATCH", path, patch);
  assert.equal(stale.status, 412);
  assert.equal(JSON.parse(stale.body).current.genre, "science fiction");
  say("edit", "with If-Match, and reads the problem of a stale version");

  const file = await send(page, "GET", "/api/v1/movies/export?format=csv", { headers: { Authorization } });
  assert.match(file.headers["content-disposition"], /filename=/);
  assert.ok(file.body.split("\n").length > 100);
  say("export", `${file.body.length} bytes, and reads Content-Disposition`);

  for (const [name, method, path, headers, status] of [
    ["no token", "GET", "/api/v1/movies", {}, 401],
    ["an invalid token", "GET", "/api/v1/movies", { Authorization: "Bearer x" }, 401],
    ["an unknown path", "GET", "/nothing", { Authorization }, 404],
    ["an unknown method", "PUT", "/api/v1/movies", { Authorization }, 405],
  ]) {
    const { status: found, body, headers: fields } = await send(page, method, path, { headers });
    assert.equal(found, status, name);
    assert.equal(JSON.parse(body).request_id, fields["x-request-id"], name);
  }
  say("errors", "the problem of each can be read");

  const removed = await send(page, "DELETE", path, { headers: { Authorization, "If-Match": "*" } });
  assert.equal(removed.status, 204);

  const blocked = await opened(`http://localhost:${other.address().port}`);
  const complaints = [];
  blocked.on("console", (message) => complaints.push(message.text()));
  for (const headers of [{}, { Authorization }]) {
    const { error } = await send(blocked, "GET", "/api/v1/movies", { headers });
    assert.match(error ?? "", /Failed to fetch/, "a page that is not listed has read a response");
  }
  assert.ok(complaints.some((text) => text.includes("CORS policy")), complaints.join("\n"));
  say("another origin", "is blocked by the browser");
} finally {
  await browser.close();
  listed.close();
  other.close();
}

/** Serves an empty page on a port. */
async function serving(port) {
  const server = createServer((_, response) => {
    response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>A page</title>");
  });
  await new Promise((listening) => server.listen(port, "localhost", listening));
  return server;
}

async function opened(origin) {
  const page = await browser.newPage();
  page.setDefaultTimeout(10_000);
  await page.goto(origin);
  return page;
}

/** Sends a request from the page. Returns what the page can read of the response, or the error that it gets. */
function send(page, method, path, options) {
  const url = new URL(path, CINEQUERY_URL).href;
  return page.evaluate(
    async ([url, options]) => {
      try {
        const response = await fetch(url, options);
        const headers = Object.fromEntries(response.headers);
        return { url: response.url, status: response.status, headers, body: await response.text() };
      } catch (error) {
        return { error: String(error) };
      }
    },
    [url, { method, ...options }],
  );
}

function say(what, text) {
  console.log(`${what}: ${text}`);
}
