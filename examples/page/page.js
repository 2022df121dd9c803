// A page that searches and edits the movies of a service on another origin: docs/browser.md.

const API = document.querySelector("meta[name=api]").content;
const MOVIES = `${API}/api/v1/movies`;
const $ = (id) => document.getElementById(id);

// Sign in, renew, sign out. The tokens are in memory only, so a reload signs out.

let tokens;
let renewal;

async function requestToken(fields) {
  const response = await fetch(`${API}/api/token`, { method: "POST", body: new URLSearchParams(fields) });
  if (!response.ok) throw await problemOf(response);
  tokens = await response.json();
}

function signIn({ username, password }) {
  const scope = "movies:read movies:write offline_access";
  return requestToken({ grant_type: "password", username, password, scope });
}

/** Requests that fail at the same time share one renewal. */
function renew() {
  const { refresh_token } = tokens;
  renewal ??= requestToken({ grant_type: "refresh_token", refresh_token }).finally(() => (renewal = undefined));
  return renewal;
}

async function signOut() {
  const token = tokens.refresh_token ?? tokens.access_token;
  tokens = undefined;
  await fetch(`${API}/api/token/revoke`, { method: "POST", body: new URLSearchParams({ token }) });
}

// Requests. All errors are problem documents, except those of proxies.

function problemOf(response) {
  return response.json().catch(() => ({ detail: `${response.status} ${response.statusText}` }));
}

async function send(url, options = {}, isRetry = false) {
  const headers = { ...options.headers, Authorization: `Bearer ${tokens.access_token}` };
  const response = await fetch(url, { ...options, headers });
  if (response.ok) return response.json();
  const problem = await problemOf(response);
  if (problem.code !== "token_expired" || !tokens.refresh_token || isRetry) throw problem;
  await renew();
  return send(url, options, true);
}

// Search, sort, count, and read page after page. A cursor belongs to the query that it was returned for.

let query;
let next;

function search() {
  const position_encoding = "utf-16"; // as in strings of JavaScript
  query = new URLSearchParams({ order_by: $("order").value, limit: 20, count: "exact", position_encoding });
  const filter = $("filter").value;
  if (filter.trim()) query.set("filter", filter); // an empty filter is an error
  return showPage();
}

async function showPage() {
  const requested = query;
  const { items, total, next_cursor } = await send(`${MOVIES}?${query}`);
  if (query !== requested) return; // the user has started another search
  next = next_cursor;
  $("next").hidden = !next;
  $("total").textContent = `${total} movies`;
  $("movies").replaceChildren(...items.map(row));
}

function showNextPage() {
  query.set("cursor", next);
  return showPage();
}

function row(movie) {
  const { title, genre, release_year, expiry_date } = movie;
  const cells = [title, genre, release_year, expiry_date, button("Edit", () => edit(movie))];
  return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
}

// Suggestions for a wrong filter.

function diagnostic({ parameter, message, help, suggestion }) {
  const line = element("p", {}, [message, help].filter(Boolean).join("; "), " ");
  if (parameter === "filter" && suggestion) {
    line.append(button("Apply", () => (replace(suggestion), search())));
  }
  return line;
}

function replace({ start, end, text }) {
  $("filter").setRangeText(text, start, end, "end");
}

// Complete the filter as the user types, after a short pause.

let pause;

async function complete() {
  const { value: filter, selectionStart: caret } = $("filter");
  const request = new URLSearchParams({ filter, caret, position_encoding: "utf-16" });
  const { start, end, candidates } = await send(`${API}/api/v1/query/complete?${request}`);
  if ($("filter").value !== filter) return; // the user has typed on
  const choices = candidates.slice(0, 8).map(({ text }) =>
    button(text, () => {
      $("filter").setRangeText(`${text} `, start, end, "end");
      $("filter").focus();
      return complete();
    }),
  );
  $("candidates").replaceChildren(...choices);
}

// Edit the version that the user has seen. The entity tag of a record is its version in quotes.

let edited;
let theirs;

function edit(movie) {
  edited = movie;
  for (const input of fields()) input.value = movie[input.name];
  $("conflict").hidden = true;
  $("rejected").replaceChildren();
  if (!$("editor").open) $("editor").showModal();
}

function fields() {
  return [...$("edit").elements].filter(({ name }) => name);
}

/** Sends only the fields that the user has changed. */
async function save(version) {
  const values = fields().map((it) => [it.name, it.type === "number" ? it.valueAsNumber : it.value]);
  const changes = values.filter(([name, value]) => value !== edited[name]);
  try {
    await send(`${MOVIES}/${edited.id}`, {
      method: "PATCH",
      headers: { "Content-Type": "application/merge-patch+json", "If-Match": `"${version}"` },
      body: JSON.stringify(Object.fromEntries(changes)),
    });
  } catch (problem) {
    if (problem.code !== "precondition_failed") throw problem;
    return showConflict(problem.current);
  }
  $("editor").close();
  return search();
}

function showConflict(current) {
  theirs = current;
  $("theirs").textContent = fields().map(({ name }) => current[name]).join(", ");
  $("conflict").hidden = false;
}

// The page.

function element(name, properties, ...children) {
  const created = Object.assign(document.createElement(name), properties);
  created.append(...children);
  return created;
}

function button(text, action) {
  return element("button", { type: "button", onclick: handle(action) }, text);
}

/** Runs an action of the user, and shows the problem if it fails. */
function handle(action) {
  return async (event) => {
    event.preventDefault();
    document.body.ariaBusy = "true";
    try {
      await action(event);
      show();
    } catch (problem) {
      show(problem);
    } finally {
      document.body.ariaBusy = "false";
    }
  };
}

function show(problem) {
  // The session has ended.
  if (["unauthenticated", "token_expired", "invalid_grant"].includes(problem?.code)) tokens = undefined;
  $("sign-in").hidden = Boolean(tokens);
  $("catalogue").hidden = !tokens;
  if (!tokens) $("editor").close();
  const place = $("editor").open ? $("rejected") : $("problem");
  const rules = problem?.errors?.map(({ pointer, detail }) => element("p", {}, `${pointer.slice(1)} ${detail}`));
  const lines = problem?.diagnostics?.map(diagnostic) ?? rules ?? [problem?.detail ?? problem?.message ?? ""];
  place.replaceChildren(...lines);
}

$("sign-in").onsubmit = handle(async ({ target }) => {
  await signIn(Object.fromEntries(new FormData(target)));
  target.reset();
  await search();
});
$("sign-out").onclick = handle(signOut);
$("search").onsubmit = handle(search);
$("order").onchange = handle(search);
$("next").onclick = handle(showNextPage);
$("filter").oninput = () => {
  // Their positions are those of the text before.
  for (const id of ["problem", "candidates"]) $(id).replaceChildren();
  clearTimeout(pause);
  pause = setTimeout(() => complete().catch(show), 150);
};
$("edit").onsubmit = handle(() => save(edited.version));
$("keep-mine").onclick = handle(() => save(theirs.version));
$("take-theirs").onclick = handle(() => (edit(theirs), search()));
$("cancel").onclick = () => $("editor").close();
