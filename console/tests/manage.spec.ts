// The views that manage a collection and the service: import, export, saved queries, users, usage, account, record type.

import { readFile } from "node:fs/promises";
import type { Page } from "@playwright/test";
import { Api, accessible, expect, hasUsers, open, test, unique } from "./console";

/** Puts a file into the view of imports. */
async function choose(page: Page, name: string, text: string): Promise<void> {
  await page.locator("input[type=file]").setInputFiles({ name, mimeType: "text/csv", buffer: Buffer.from(text) });
}

const status = (page: Page) => page.getByRole("main").getByRole("status");

/** A name that fits saved queries and users. */
function word(text: string): string {
  return unique(text).toLowerCase().replaceAll(" ", "-");
}

function matching(title: string): Record<string, string> {
  return { filter: `title = "${title}"` };
}

test.describe("import", () => {
  test("reads a file with other columns, applies proposals, and imports", async ({ page, api }) => {
    const title = unique("Imported");
    await open(page, "#/movies?view=import");
    await accessible(page);
    await choose(page, "movies.csv", `Name;Main genre;Release Year;Licence ends;Rating\n${title};;1972;31/01/2030;5\n`);
    // Guesses are taken and marked.
    await expect(page.getByLabel("Field for Name")).toHaveValue("value title");
    await expect(page.getByRole("row", { name: /^Name/ })).toContainText("guess");
    await expect(page.getByRole("row", { name: /^Rating/ })).toContainText("ignored");
    // The option that the service proposes.
    await page.getByRole("button", { name: "Read dates as day/month/year" }).click();
    await expect(page.getByLabel("Dates such as 03/04/2030")).toHaveValue("dmy");
    await page.getByRole("button", { name: "Set a value for empty cells" }).click();
    await expect(page.getByLabel("Genre", { exact: true })).toBeFocused();
    await page.keyboard.type("drama");
    await page.keyboard.press("Tab");
    await expect(status(page)).toHaveText("Would be: 1 created.");
    await expect(page.getByRole("cell", { name: "2030-01-31" })).toBeVisible();
    await accessible(page);
    await expect(page.getByText("1 column is not imported: Rating.")).toBeVisible();
    await page.getByRole("button", { name: "Ask for new fields" }).click();
    const message = page.getByLabel("the message for the operator", { exact: true });
    await expect(message).toContainText("Please add fields for these columns to the record type Movie: Rating");
    await expect(message).toContainText("[fields.rating]");
    await page.getByRole("button", { name: "Choose fields for columns" }).click();
    await expect(page.getByLabel("Field for Name")).toBeFocused();
    const requested = page.waitForRequest((request) => request.url().includes("/import?") && !request.url().includes("dry_run"));
    await page.getByRole("button", { name: "Import 1 row", exact: true }).click();
    expect((await requested).headers()["idempotency-key"]).toBeTruthy();
    await expect(status(page)).toContainText("1 created, 0 updated");
    await accessible(page);
    const { items } = await api.json("GET", "api/v1/movies", { params: matching(title) });
    expect(items).toMatchObject([{ genre: "drama", release_year: 1972, expiry_date: "2030-01-31" }]);
    await page.getByRole("link", { name: "Show the records, the latest first" }).click();
    await expect(page.getByRole("row", { name: new RegExp(title) })).toBeVisible();
  });

  test("leaves out rejected rows and returns them as a file", async ({ page, api }) => {
    const title = unique("Mixed");
    const bad = `"Bad\nrow, ${title}",drama,abc,2031-01-01`;
    await open(page, "#/movies?view=import");
    await choose(page, "mixed.csv", `title,genre,release_year,expiry_date\n${title},drama,1999,2031-01-01\n${bad}\n`);
    await expect(page.getByRole("button", { name: "Import records" })).toBeDisabled();
    await expect(page.getByText("1 × expected an integer, found \"abc\" (in line 3, “Bad row")).toBeVisible();
    await page.getByRole("button", { name: "Leave out 1 row" }).click();
    await expect(page.getByRole("radio", { name: /^Leave out wrong and repeated rows/ })).toBeChecked();
    await page.getByRole("button", { name: "Import 1 row, leave out 1" }).click();
    await expect(status(page)).toContainText("1 created, 0 updated, 0 left as they are, 1 rejected");
    await expect(page.getByText('Line 3: Release year: expected an integer, found "abc"')).toBeVisible();
    const downloaded = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download the rejected rows" }).click();
    const download = await downloaded;
    expect(download.suggestedFilename()).toBe("mixed-rejected.csv");
    const text = await readFile(await download.path(), "utf8");
    expect(text).toContain("problem,title,genre,release_year,expiry_date\r\n");
    expect(text).toContain(`"line 3: release_year: expected an integer`);
    expect(text).toContain(`,${bad}\r\n`);
    expect((await api.json("GET", "api/v1/movies", { params: { ...matching(title), count: "exact" } })).total).toBe(1);
  });

  test("offers what to do with existing records", async ({ page, api }) => {
    const { title, id } = await api.movie({ genre: "drama" });
    await open(page, "#/movies?view=import");
    await choose(page, "again.csv", `id,title,genre,release_year,expiry_date\n${id},${title},comedy,1999,2031-12-31\n`);
    await expect(page.getByLabel("Row with the names of the columns")).toHaveValue("1");
    await expect(page.getByRole("button", { name: "Update existing records" })).toBeVisible();
    await expect(page.getByRole("button", { name: /^Leave out/ })).toHaveCount(0);
    await page.getByRole("button", { name: "Keep existing records" }).click();
    await expect(status(page)).toHaveText("Would be: 1 left as they are.");
    await page.getByText("1 row whose records exist already").click();
    await expect(page.getByText(/^Line 2: .*already exists/)).toBeVisible();
    await page.getByRole("radio", { name: /update records that exist/ }).check();
    await expect(page.getByRole("row", { name: /^id / })).toContainText("finds the record");
    await page.getByRole("button", { name: "Import 1 row", exact: true }).click();
    await expect(status(page)).toContainText("0 created, 1 updated");
    expect(await api.json("GET", `api/v1/movies/${id}`)).toMatchObject({ genre: "comedy" });
  });

  test("updates by an export of the service, and says so", async ({ page, api }) => {
    const { title, id } = await api.movie({ genre: "drama" });
    await open(page, "#/movies?view=import");
    await choose(page, "export.csv", `id,title,genre,release_year,expiry_date,version\n${id},${title},comedy,1999,2031-12-31,1\n`);
    await expect(page.getByRole("radio", { name: /update records that exist/ })).toBeChecked();
    await expect(page.getByText("The file has the columns id and version of an export of this service")).toBeVisible();
    await expect(status(page)).toHaveText("Would be: 1 updated.");
    await page.getByRole("radio", { name: /^Import all rows or none/ }).check();
    await expect(status(page)).toHaveText("Would be: 1 rejected.");
    await expect(page.getByText("of an export of this service")).toHaveCount(0);
  });

  test("names rows as a spreadsheet counts them, and those that are repeated", async ({ page }) => {
    const title = unique("Counted");
    const row = (name: string, day: string, note = "") => `${name};drama;1999;${day};${note}\n`;
    const days = ["12/25/2027", "11/25/2027", "tbc"].map((day, index) => row(`${title} ${index}`, day)).join("");
    const file = `title;genre;release_year;expiry_date;note\n${row(title, "31/01/2030", '"two\nlines"')}${row(title, "30/01/2030")}${days}`;
    await open(page, "#/movies?view=import");
    await choose(page, "rows.csv", file);
    await page.getByLabel("Dates such as 03/04/2030").selectOption("dmy");
    await expect(page.getByText(`1 × repeated in this file: "${title}" (1999) is also in line 2 (in row 3 (line 4))`)).toBeVisible();
    const months = page.getByText("2 × expected a month from 1 to 12 in day/month/year");
    await expect(months.getByRole("listitem")).toHaveText([`"12/25/2027" in row 4 (line 5), “${title} 0”`, `"11/25/2027" in row 5 (line 6), “${title} 1”`]);
    await expect(page.getByRole("button", { name: /^Read dates as/ })).toHaveCount(0);
    await page.getByRole("button", { name: "Leave out 4 rows" }).click();
    await expect(status(page)).toHaveText("Would be: 1 created, 1 repeated in this file, 3 rejected.");
    await expect(page.getByRole("button", { name: "Import 1 row, leave out 4" })).toBeEnabled();
    await page.getByText("1 row repeated in this file").click();
    await expect(page.getByText(`Row 3 (line 4): "${title}" (1999) is also in line 2`)).toBeVisible();
  });

  test("advises the row below a title, and says why an order of dates fits", async ({ page }) => {
    const title = unique("Titled");
    await open(page, "#/movies?view=import");
    await choose(page, "title.csv", `Spring season, printed 03/02/2025\nName;Main genre;Year;Licence ends\n${title};drama;1999;31/01/2030\n${title} 2;drama;1999;02/01/2030\n`);
    await expect(page.getByRole("heading", { name: "Problems" })).toHaveCount(0);
    await accessible(page);
    await page.getByRole("button", { name: "Use row 2 as the header" }).click();
    await expect(page.getByLabel("Field for Name")).toHaveValue("value title");
    await expect(page.getByText("all 2 dates fit day/month/year, and 1 of them has a day above 12")).toBeVisible();
    // A number is applied while the input has the focus.
    const header = page.getByLabel("Row with the names of the columns");
    await header.fill("1");
    await expect(page.getByRole("button", { name: "Use row 2 as the header" })).toBeVisible();
    await header.fill("2");
    await expect(page.getByLabel("Field for Name")).toBeVisible();
  });

  test("loads the record type again", async ({ page }) => {
    await open(page, "#/movies");
    await page.route("**/api/v1/schema", async (route) => {
      const response = await route.fetch();
      const schema = await response.json();
      schema.record_types[0].fields.push({ ...schema.record_types[0].fields[1], name: "rating", type: "integer", writable: true, required: false });
      await route.fulfill({ response, json: schema });
    });
    await page.getByRole("link", { name: "Import" }).click();
    await choose(page, "rated.csv", "title,other\nA,5\n");
    await expect(page.getByLabel("Field for other").locator("option", { hasText: /^Rating$/ })).toHaveCount(1);
    await page.unrouteAll({ behavior: "wait" });
  });

  test("changes the mapping, also as text and to two fields", async ({ page }) => {
    const title = unique("Mapped");
    await open(page, "#/movies?view=import");
    await choose(page, "day.csv", `A,B,Day\n${title},drama,1999-05-01\n`);
    await page.getByLabel("Field for A", { exact: true }).selectOption("value genre");
    await page.getByLabel("Field for B", { exact: true }).selectOption("value title");
    await expect(page.getByRole("row", { name: /^A / })).not.toContainText("guess");
    await page.getByLabel("Field for Day", { exact: true }).selectOption("value expiry_date");
    await page.getByRole("button", { name: "Read Day into another field, too" }).click();
    await expect(page.getByLabel("Field 2 for Day")).toHaveValue("year release_year");
    await expect(status(page)).toHaveText("Would be: 1 created.");
    await page.getByText("Mapping as text").click();
    const text = page.getByLabel(/The parameter map/);
    await expect(text).toHaveValue("A=genre,B=title,Day=expiry_date,year(Day)=release_year");
    await text.fill("A=title,B=genre,Day=expiry_date,year(Day)=release_year");
    await text.press("Tab");
    await expect(page.getByRole("row", { name: new RegExp(`${title} drama 1999 1999-05-01`) })).toBeVisible();
    await page.getByLabel("Field for B", { exact: true }).selectOption("");
    await expect(page.getByText(/no column for `genre`|is missing/).first()).toBeVisible();
  });

  test("takes a file that is dropped, and shows why one cannot be read", async ({ page }) => {
    await open(page, "#/movies?view=import");
    const data = await page.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array([0x50, 0x4b, 3, 4, 1, 2, 3])], "broken.xlsx"));
      return transfer;
    });
    await page.dispatchEvent("body", "dragover", { dataTransfer: data });
    await page.dispatchEvent("body", "drop", { dataTransfer: data });
    await expect(page.getByText("broken.xlsx")).toBeVisible();
    await expect(page.getByRole("alert")).toBeVisible();
    await expect(page.getByRole("button", { name: /^Import/ })).toHaveCount(0);
    await page.getByRole("button", { name: "Choose another file" }).click();
    await expect(page.locator("input[type=file]")).toBeVisible();
  });

  test("continues an import whose response was lost, with the same key", async ({ page, api, expected }) => {
    expected.push(/Failed to load resource|ERR_FAILED/);
    const title = unique("Lost");
    const keys: (string | undefined)[] = [];
    await page.route(/\/import\?(?!.*dry_run)/, async (route) => {
      keys.push(route.request().headers()["idempotency-key"]);
      if (keys.length === 1) {
        await route.fetch();
        await route.abort();
      } else await route.continue();
    });
    await open(page, "#/movies?view=import");
    await choose(page, "lost.csv", `title,genre,release_year,expiry_date\n${title},drama,1999,2031-01-01\n`);
    await page.getByRole("button", { name: "Import 1 row", exact: true }).click();
    await page.getByRole("button", { name: "Continue the import" }).click();
    await expect(status(page)).toContainText("1 created");
    expect(keys).toHaveLength(2);
    expect(keys[0]).toBe(keys[1]);
    expect((await api.json("GET", "api/v1/movies", { params: { ...matching(title), count: "exact" } })).total).toBe(1);
  });

  test("shows that a file is too large", async ({ page }) => {
    await page.route(/\/import\?/, (route) =>
      route.fulfill({ status: 413, contentType: "application/problem+json", json: { status: 413, code: "body_too_large", detail: "the file has more than 1 GiB" } }),
    );
    await open(page, "#/movies?view=import");
    await choose(page, "large.csv", "title\nA\n");
    await expect(page.getByRole("alert")).toContainText("the file has more than 1 GiB");
  });

  test("proposes the row with the header", async ({ page }) => {
    await page.route(/\/import\?/, async (route) => {
      const isCorrected = route.request().url().includes("header_row=3");
      const problem = { status: 400, code: "invalid_body", detail: "line 1 has no column for any field; it has: Movies; try header_row=3" };
      const report = { created: 1, updated: 0, skipped: 0, rejected: 0, errors: [], existing: [], ignored: [], problems: [], repeated: 0, trimmed: 0, columns: [] };
      if (isCorrected) await route.fulfill({ json: report });
      else await route.fulfill({ status: 400, contentType: "application/problem+json", json: problem });
    });
    await open(page, "#/movies?view=import");
    await choose(page, "titled.csv", "Movies\n\ntitle\nA\n");
    await page.getByRole("button", { name: "Use row 3 as the header" }).click();
    await expect(page.getByLabel("Row with the names of the columns")).toHaveValue("3");
    await expect(status(page)).toHaveText("Would be: 1 created.");
  });
});

test.describe("export", () => {
  test("writes the filter, the order and the columns that are shown", async ({ page, api }) => {
    const { title } = await api.movie();
    await open(page, `#/movies?${new URLSearchParams({ ...matching(title), fields: "release_year,title" })}`);
    await page.getByRole("button", { name: "Export" }).click();
    const dialog = page.getByRole("dialog", { name: "Export" });
    await expect(dialog).toContainText("1 record that match");
    await accessible(page);
    await dialog.getByRole("radio", { name: /^CSV With commas/ }).check();
    const downloaded = page.waitForEvent("download");
    await dialog.getByRole("button", { name: "Download" }).click();
    const download = await downloaded;
    expect(download.suggestedFilename()).toBe("movies.csv");
    expect(await readFile(await download.path(), "utf8")).toBe(`release_year,title\r\n1999,${title}\r\n`);
    await expect(dialog).toBeHidden();
    await expect(page.getByRole("button", { name: "Export" })).toBeFocused();
  });

  test("writes all fields as a workbook, survives a reload, and closes by Escape", async ({ page, api }) => {
    const { title } = await api.movie();
    await open(page, `#/movies?${new URLSearchParams(matching(title))}`);
    await page.getByRole("button", { name: "Export" }).click();
    await open(page, new URL(page.url()).hash);
    const dialog = page.getByRole("dialog", { name: "Export" });
    await dialog.getByRole("radio", { name: /^Excel workbook/ }).check();
    await expect(dialog.getByRole("radio", { name: /^All fields/ })).toBeChecked();
    const requested = page.waitForRequest(/\/export\?/);
    const downloaded = page.waitForEvent("download");
    await dialog.getByRole("button", { name: "Download" }).click();
    expect(new URL((await requested).url()).searchParams.has("fields")).toBe(false);
    expect((await downloaded).suggestedFilename()).toBe("movies.xlsx");
    await page.getByRole("button", { name: "Export" }).click();
    await page.keyboard.press("Escape");
    await expect(dialog).toBeHidden();
  });

  test("can be cancelled, and shows a failure", async ({ page }) => {
    let release = () => {};
    const held = new Promise<void>((done) => (release = done));
    await page.route(/\/export\?/, async (route) => {
      await held;
      await route.fulfill({ status: 503, headers: { "Retry-After": "60" }, contentType: "application/problem+json", json: { status: 503, detail: "too many exports" } });
    });
    await open(page);
    await page.getByRole("button", { name: "Export" }).click();
    const dialog = page.getByRole("dialog", { name: "Export" });
    await dialog.getByRole("button", { name: "Download" }).click();
    await expect(dialog.getByRole("progressbar")).toBeVisible();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await expect(dialog.getByRole("progressbar")).toBeHidden();
    await expect(dialog.getByRole("button", { name: "Download" })).toBeEnabled();
    release();
  });
});

test.describe("saved queries", () => {
  test("saves the search that is shown and runs it with its parameters", async ({ page, api }) => {
    const typed = unique("Expiring soon –");
    const name = typed.toLowerCase().replace(" –", "").replaceAll(" ", "-");
    const { title } = await api.movie();
    await open(page, `#/movies?${new URLSearchParams({ filter: "title = $title", $title: title, order_by: "title" })}`);
    await page.getByRole("button", { name: "Save query" }).click();
    const dialog = page.getByRole("dialog", { name: "Save this query" });
    await expect(dialog.getByLabel("Name", { exact: true })).toBeFocused();
    await dialog.getByLabel("Name", { exact: true }).fill("–");
    await expect(dialog.getByRole("alert")).toHaveText("expected letters from a to z or digits");
    await expect(dialog.getByRole("button", { name: "Save" })).toBeDisabled();
    await dialog.getByLabel("Name", { exact: true }).fill(typed);
    await expect(dialog.getByText(`Links and scripts have it as ${name}.`)).toBeVisible();
    await dialog.getByLabel("Description", { exact: true }).fill("One title");
    await dialog.getByLabel("Description of $title").fill("The exact title");
    await expect(dialog.getByLabel("Default of $title")).toHaveValue(title);
    await accessible(page);
    await dialog.getByRole("button", { name: "Save" }).click();
    await expect(page.getByText(`Saved the query ${name}`)).toBeVisible();
    expect(await api.json("GET", `api/v1/queries/movies/${name}`)).toMatchObject({
      description: "One title",
      filter: "title = $title",
      order_by: "title",
      parameters: [{ name: "title", type: "text", default: title, description: "The exact title" }],
    });
    await page.getByRole("link", { name: "Saved queries" }).click();
    await expect(page.getByRole("listitem").filter({ has: page.getByRole("heading", { name }) })).toContainText("The exact title");
    await accessible(page);
    await page.getByRole("link", { name: `Run ${name}` }).click();
    await expect(page.getByText("1 record", { exact: true })).toBeVisible();
    await expect(page.getByLabel("$title")).toHaveValue(title);
  });

  test("edits, renames and rejects an outdated version", async ({ page, api }) => {
    const name = word("edited");
    await api.json("POST", "api/v1/queries/movies", { data: { name, filter: "release_year > 2000" } });
    await open(page, "#/movies?view=queries");
    await page.getByRole("button", { name: `Edit ${name}` }).click();
    const dialog = page.getByRole("dialog", { name: `Edit ${name}` });
    await expect(dialog.getByLabel("Name", { exact: true })).toBeFocused();
    await dialog.getByLabel("Filter").fill("release_yeer > 2000");
    await expect(dialog.getByRole("alert")).toContainText('unknown field "release_yeer"');
    await expect(dialog.getByRole("button", { name: "Save" })).toBeDisabled();
    await dialog.getByLabel("Filter").fill("release_year > 2001");
    await api.json("PUT", `api/v1/queries/movies/${name}`, { data: { name, filter: "release_year > 1980" }, headers: { "If-Match": '"1"' } });
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByRole("button", { name: "Discard my changes and show it" }).click();
    await expect(dialog.getByLabel("Filter")).toHaveValue("release_year > 1980");
    const renamed = word("renamed");
    await dialog.getByLabel("Name", { exact: true }).fill(renamed);
    await dialog.getByLabel("Order").fill("title desc");
    await dialog.getByRole("button", { name: "Save" }).click();
    await expect(dialog).toBeHidden();
    await expect(page.getByRole("heading", { name: renamed })).toBeVisible();
    expect((await api.send("GET", `api/v1/queries/movies/${name}`)).status()).toBe(404);
  });

  test("replaces a query of the same name only on request", async ({ page, api }) => {
    const name = word("taken");
    await api.json("POST", "api/v1/queries/movies", { data: { name, filter: "release_year > 2000" } });
    await open(page, `#/movies?${new URLSearchParams({ filter: "release_year > 1950" })}`);
    await page.getByRole("button", { name: "Save query" }).click();
    const dialog = page.getByRole("dialog", { name: "Save this query" });
    await dialog.getByLabel("Name", { exact: true }).fill(name);
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByRole("button", { name: "Replace it" }).click();
    await expect(dialog).toBeHidden();
    expect(await api.json("GET", `api/v1/queries/movies/${name}`)).toMatchObject({ filter: "release_year > 1950", version: 2 });
  });

  test("deletes with a way back", async ({ page, api }) => {
    const name = word("deleted");
    await api.json("POST", "api/v1/queries/movies", { data: { name, filter: "title = $t", parameters: [{ name: "t", description: "A title" }] } });
    await open(page, "#/movies?view=queries");
    await page.getByRole("button", { name: `Delete ${name}` }).click();
    await expect(page.getByRole("heading", { name })).toHaveCount(0);
    expect((await api.send("GET", `api/v1/queries/movies/${name}`)).status()).toBe(404);
    await page.getByRole("button", { name: "Undo" }).click();
    await expect(page.getByRole("heading", { name })).toBeVisible();
    expect(await api.json("GET", `api/v1/queries/movies/${name}`)).toMatchObject({ parameters: [{ name: "t", description: "A title" }] });
  });

  test("marks built-in queries, which can be duplicated only", async ({ page, api }) => {
    const { built_in: builtIn } = await api.json("GET", "api/v1/queries/movies");
    const [{ name }] = builtIn;
    await open(page, "#/movies?view=queries");
    const card = page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: `${name} built in` }) });
    await expect(card).toContainText("built in");
    await expect(card.getByRole("button", { name: "Edit" })).toHaveCount(0);
    await card.getByRole("button", { name: "Duplicate" }).click();
    const copied = word("copied");
    const dialog = page.getByRole("dialog", { name: `Duplicate ${name}` });
    await dialog.getByLabel("Name", { exact: true }).fill(copied);
    await dialog.getByRole("button", { name: "Save" }).click();
    await expect(page.getByRole("button", { name: `Edit ${copied}` })).toBeVisible();
  });
});

test.describe("users", () => {
  test.skip(!hasUsers, "the service has no users");

  async function withUser(api: Api, role = "viewer"): Promise<string> {
    const name = word("user");
    await api.json("POST", "api/v1/users", { data: { name, role, password: "a long password of its own" } });
    return name;
  }

  test("creates a user, with the rules at the fields", async ({ page, api }) => {
    const name = word("anna");
    await open(page, "#/movies?view=users");
    await accessible(page);
    await page.getByRole("button", { name: "New user" }).click();
    const dialog = page.getByRole("dialog", { name: "New user" });
    await expect(dialog.getByLabel("User name")).toBeFocused();
    await dialog.getByLabel("User name").fill(name);
    await dialog.getByLabel("Password", { exact: true }).fill("short");
    await page.keyboard.press("Tab");
    await dialog.getByLabel("Role").selectOption("editor");
    await expect(dialog.getByRole("alert")).toContainText("at least 15 characters, found 5");
    await accessible(page);
    await dialog.getByRole("button", { name: "Generate a password" }).click();
    const password = await dialog.getByLabel("Password", { exact: true }).inputValue();
    expect(password.length).toBeGreaterThanOrEqual(15);
    await dialog.getByRole("button", { name: "Create" }).click();
    await expect(dialog).toBeHidden();
    await expect(page.getByRole("button", { name: "New user" })).toBeFocused();
    expect(await api.json("GET", `api/v1/users/${name}`)).toMatchObject({ role: "editor" });
    await api.json("POST", "api/token", { data: { username: name, password } });
    // The name is taken now.
    await page.getByRole("button", { name: "New user" }).click();
    await dialog.getByLabel("User name").fill(name);
    await dialog.getByRole("button", { name: "Generate a password" }).click();
    await dialog.getByRole("button", { name: "Create" }).click();
    await expect(dialog.getByRole("alert")).toContainText("exists");
    await page.keyboard.press("Escape");
    await expect(dialog).toBeHidden();
  });

  /** Opens a dialog about a user. The list may be long, so the place is opened. */
  async function openUser(page: Page, name: string, panel: string): Promise<void> {
    await open(page, `#/movies?${new URLSearchParams({ view: "users", panel, record: name })}`);
  }

  test("changes the role", async ({ page, api }) => {
    const name = await withUser(api);
    await openUser(page, name, "role");
    const dialog = page.getByRole("dialog", { name: `Role of ${name}` });
    await expect(dialog.getByRole("button", { name: "Change the role" })).toBeDisabled();
    await dialog.getByLabel("Role", { exact: true }).selectOption("editor");
    await dialog.getByRole("button", { name: "Change the role" }).click();
    await expect(page.getByText(`${name} is an editor now`)).toBeVisible();
    expect(await api.json("GET", `api/v1/users/${name}`)).toMatchObject({ role: "editor" });
  });

  test("sets a password, revokes the tokens, and deletes", async ({ page, api }) => {
    const name = await withUser(api);
    const password = "another long password of its own";
    await openUser(page, name, "password");
    await page.getByLabel("New password").fill(password);
    await page.getByRole("button", { name: "Set the password" }).click();
    await expect(page.getByText(`Changed the password of ${name}`)).toBeVisible();
    const { access_token: token } = await api.json("POST", "api/token", { data: { username: name, password } });
    const me = () => api.send("GET", "api/v1/me", { headers: { Authorization: `Bearer ${token}` } });
    expect((await me()).status()).toBe(200);
    await openUser(page, name, "revoke");
    await page.getByRole("button", { name: "Revoke all tokens", exact: true }).click();
    await expect(page.getByText(`Revoked all tokens of ${name}`)).toBeVisible();
    await expect.poll(async () => (await me()).status()).toBe(401);
    await openUser(page, name, "delete");
    await accessible(page);
    await page.getByRole("button", { name: "Delete the user" }).click();
    await expect(page.getByText(`Deleted the user ${name}`)).toBeVisible();
    expect((await api.send("GET", `api/v1/users/${name}`)).status()).toBe(404);
  });

  test("opens the dialogs from the menu of a user", async ({ page, api }) => {
    const name = await withUser(api);
    await open(page, "#/movies?view=users");
    await page.getByLabel(`Actions for ${name}`).click();
    await page.getByRole("button", { name: "Change the role" }).click();
    await expect(page.getByRole("dialog", { name: `Role of ${name}` })).toBeVisible();
    await page.keyboard.press("Escape");
    await expect(page.getByRole("dialog")).toHaveCount(0);
  });

  test("asks before an administrator locks out the own account", async ({ page, api }) => {
    const { subject } = await api.json("GET", "api/v1/me");
    await openUser(page, subject, "role");
    await page.getByLabel("Role", { exact: true }).selectOption("viewer");
    await expect(page.getByRole("button", { name: "Change the role" })).toBeDisabled();
    await page.getByLabel(/This is your own account/).check();
    await expect(page.getByRole("button", { name: "Change the role" })).toBeEnabled();
    await page.keyboard.press("Escape");
    await page.getByLabel(`Actions for ${subject}`).click();
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await expect(page.getByRole("button", { name: "Delete the user" })).toBeDisabled();
    await page.keyboard.press("Escape");
    await expect(page.getByRole("dialog")).toHaveCount(0);
  });
});

test.describe("usage", () => {
  test("shows the requests of today and the rate limit", async ({ page, api }) => {
    await api.json("GET", "api/v1/movies", { params: { limit: "1" } });
    await open(page, "#/movies?view=usage");
    await expect(page.getByRole("img", { name: /Requests by day/ }).locator("canvas")).toBeVisible();
    // The demo has no rate limit.
    const limit = /Your rate limit is that of the role \w+: [\d,]+ requests|The service sets no rate limit for you/;
    await expect(page.getByText(limit)).toBeVisible();
    const today = new Date().toISOString().slice(0, 10);
    await expect(page.getByRole("row", { name: new RegExp(`^${today}`) })).toBeVisible();
    await accessible(page);
    await page.getByRole("button", { name: "Refresh" }).click();
    await expect(page.getByRole("row", { name: new RegExp(`^${today}`) })).not.toHaveText(new RegExp(`^${today}0+$`));
  });

  test("shows one user to an administrator", async ({ page, api }) => {
    test.skip(!hasUsers, "the service has no users");
    const { subject } = await api.json("GET", "api/v1/me");
    await api.json("GET", "api/v1/movies", { params: { limit: "1" } });
    await open(page, "#/movies?view=usage");
    await page.getByRole("button", { name: subject, exact: true }).click();
    await expect(page.getByLabel("User", { exact: true })).toHaveValue(subject);
    await expect(page.getByRole("heading", { name: "By user" })).toHaveCount(0);
    await open(page, new URL(page.url()).hash);
    await expect(page.getByLabel("User", { exact: true })).toHaveValue(subject);
  });
});

test.describe("account", () => {
  test("says who the user is and what the token allows", async ({ page, context }) => {
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await open(page, "#/movies?view=account");
    await expect(page.getByText("Search, read and export movies")).toBeVisible();
    await expect(page.getByText("The token expires")).toBeVisible();
    await expect(page.getByLabel("the command for a token", { exact: true })).toContainText("api/token");
    await accessible(page);
    await page.getByRole("button", { name: "Copy the access token" }).click();
    await expect(page.getByText("Copied the access token")).toBeVisible();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toMatch(/^eyJ/);
  });

  test("revokes all tokens and goes on or signs out", async ({ page, api }) => {
    test.skip(hasUsers, "it would end the sessions of the other tests");
    await open(page, "#/movies?view=account");
    await page.getByRole("button", { name: "Revoke all tokens" }).click();
    const dialog = page.getByRole("dialog", { name: "Revoke all tokens?" });
    await accessible(page);
    await dialog.getByRole("button", { name: "Revoke all tokens" }).click();
    await expect(dialog).toBeHidden();
    await page.getByRole("link", { name: "Records" }).click();
    await expect(page.getByText(/\d+ records/)).toBeVisible();
    await api.json("GET", "api/v1/me");
  });

  test("changes the password, with problems at the fields, and signs out", async ({ page, api }) => {
    test.skip(!hasUsers, "the service has no users");
    const name = word("own");
    const password = "a long password of its own";
    await api.json("POST", "api/v1/users", { data: { name, role: "viewer", password } });
    await page.goto("./#/movies?view=account");
    const signIn = page.getByRole("dialog", { name: "Sign in" });
    await signIn.getByLabel("User name").fill(name);
    await signIn.getByLabel("Password").fill(password);
    await signIn.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("link", { name: "Import" })).toHaveCount(0);
    const changed = "yet another long password";
    await page.getByLabel("Current password").fill("not the present password");
    await page.getByLabel("New password", { exact: true }).fill(changed);
    await page.getByRole("button", { name: "Change the password" }).click();
    await expect(page.getByLabel("Current password")).toHaveAttribute("aria-invalid", "true");
    await page.getByLabel("Current password").fill(password);
    await page.getByRole("button", { name: "Change the password" }).click();
    await expect(page.getByText("Changed the password")).toBeVisible();
    await expect(page.getByText("Search, read and export movies")).toBeVisible();
    await api.json("POST", "api/token", { data: { username: name, password: changed } });
    await page.getByRole("button", { name: "Sign out everywhere" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Sign out everywhere" }).click();
    await expect(signIn).toBeVisible();
  });
});

test.describe("record type", () => {
  test("is loaded again when its view opens", async ({ page }) => {
    await open(page, "#/movies");
    await page.route("**/api/v1/schema", async (route) => {
      const response = await route.fetch();
      const schema = await response.json();
      schema.record_types.find(({ collection }: any) => collection === "movies").description = "As it is by now.";
      await route.fulfill({ response, json: schema });
    });
    await page.getByRole("link", { name: "Record type" }).click();
    await expect(page.getByText("As it is by now.", { exact: true })).toBeVisible();
  });

  test("makes the name of a new field from a label, and a message for the operator", async ({ page, context, api }) => {
    test.skip(!hasUsers, "an administrator adds fields");
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await open(page, "#/movies?view=declaration");
    const label = page.getByLabel("Label", { exact: true });
    const name = page.getByLabel("Name of the field");
    for (const [typed, made] of [["Last screened", "last_screened"], ["releaseDate (UK)", "release_date_uk"], ["Todáy", "today_value"], ["2nd run", "nd_run"]] as const) {
      await label.fill(typed);
      await expect(name).toHaveValue(made);
    }
    await label.fill("Title");
    await expect(page.getByText("there is a field of that name")).toBeVisible();
    await expect(page.getByRole("button", { name: "Copy for the operator" })).toBeDisabled();
    await label.fill("Last screened");
    await name.fill("screened_on");
    await label.fill("Last screening");
    await expect(name).toHaveValue("screened_on");
    await accessible(page);
    await page.getByRole("button", { name: "Copy for the operator" }).click();
    const message = await page.evaluate(() => navigator.clipboard.readText());
    expect(message).toContain("[fields.screened_on]\ntype = \"text\"\n");
    expect(message).toContain("\n   test -e records/movies.toml || cinequery records init movies > records/movies.toml\n");
    expect(message).toContain("\n4. Restart the service");
    const { record_types: types } = await api.json("GET", "api/v1/schema");
    const other = types.find(({ collection }: any) => collection !== "movies");
    test.skip(!other, "there is one collection only");
    await open(page, `#/${other.collection}?view=declaration`);
    await expect(page.getByRole("button", { name: "Copy for the operator" })).toBeVisible();
    await expect(page.getByText("cinequery records init")).toHaveCount(0);
  });

  test("lists the fields, and runs an example", async ({ page, api }) => {
    const { record_types: types } = await api.json("GET", "api/v1/schema");
    const [type] = types;
    await open(page, `#/${type.collection}?view=declaration`);
    for (const field of type.fields) await expect(page.getByRole("rowheader", { name: field.name, exact: true })).toBeVisible();
    await accessible(page);
    await page.getByText(`Show ${type.collection}.toml`).click();
    const text = page.getByLabel("the declaration", { exact: true });
    await expect(text).toContainText(`collection = "${type.collection}"`);
    await expect(text).not.toContainText("[fields.id]");
    await page.getByRole("link", { name: type.searches[0].filter }).click();
    await expect(page.getByText(/^[\d,]+ records?$/)).toBeVisible();
  });

  test("writes the lines of a new field, by the rules of the service", async ({ page }) => {
    test.skip(!hasUsers, "an administrator adds fields");
    await open(page, "#/movies?view=declaration");
    const name = page.getByLabel("Name of the field");
    for (const wrong of ["Runtime", "version", "today", "title", "a__b", "title_folded", "x".repeat(57)]) {
      await name.fill(wrong);
      await expect(name).toHaveAttribute("aria-invalid", "true");
      await expect(page.getByLabel("the lines of the field", { exact: true })).toHaveCount(0);
    }
    await name.fill("running_time");
    await page.getByLabel("Type").selectOption("integer");
    await page.getByLabel("Least value").fill("1");
    await page.getByLabel("Greatest value").fill("900");
    await page.getByLabel("The value may be null").uncheck();
    const value = page.getByLabel("Default", { exact: true });
    await expect(value).toHaveAttribute("aria-invalid", "true");
    await value.fill("1000");
    await value.press("Tab");
    await expect(page.getByText("must be from 1 to 900")).toBeVisible();
    await value.fill("90");
    await value.press("Tab");
    await page.getByLabel("Description").fill('In "minutes"');
    await expect(page.getByLabel("the lines of the field", { exact: true })).toHaveText(
      '[fields.running_time]\ntype = "integer"\nrange = [1, 900]\ndefault = 90\ndescription = "In \\"minutes\\""\n',
    );
    await accessible(page);
  });
});
