// The facets beside the table, why nothing matches, and the plan of a search.

import type { Locator, Page } from "@playwright/test";
import { accessible, expect, filter, open, search, test, unique } from "./console";
import type { Api } from "./console";

/** A place with a filter. */
function at(text: string, others: Record<string, string> = {}): string {
  return `#/movies?${new URLSearchParams({ filter: text, ...others })}`;
}

function facet(page: Page, name: string): Locator {
  return page.getByRole("group", { name: `Facet ${name}`, exact: true });
}

/** Creates movies of two genres, years and dates that only a filter by their title finds. */
async function sample(api: Api): Promise<{ mark: string; first: string; second: string; only: string }> {
  const mark = unique("Facets");
  const [first, second] = [unique("mime's"), unique("ballet")];
  const movies = [
    { genre: first, release_year: 1961, expiry_date: "2021-05-05" },
    { genre: first, release_year: 1972, expiry_date: "2999-02-01" },
    { genre: second, release_year: 1999, expiry_date: "2999-02-28" },
  ];
  for (const [index, movie] of movies.entries()) await api.movie({ title: `${mark} ${index}`, ...movie });
  return { mark, first, second, only: `title starts with '${mark}'` };
}

test("values are counted, and clicks on them edit the filter", async ({ page, api }) => {
  const { first, second, only } = await sample(api);
  await open(page, at(only));
  const genre = facet(page, "Genre");
  const [one, two] = [genre.getByRole("button", { name: `${first} 2` }), genre.getByRole("button", { name: `${second} 1` })];
  await expect(one).toHaveAttribute("aria-pressed", "false");
  await one.click();
  await expect(filter(page)).toHaveText(`${only} and genre = "${first}"`);
  await expect(page.getByText("2 records", { exact: true })).toBeVisible();
  // The other values stay, with their counts.
  await expect(one).toHaveAttribute("aria-pressed", "true");
  await two.press("Enter");
  await expect(filter(page)).toHaveText(`${only} and genre in ("${first}", '${second}')`);
  await expect(page.getByText("3 records", { exact: true })).toBeVisible();
  await accessible(page);
  await page.reload();
  await expect(two).toHaveAttribute("aria-pressed", "true");
  await one.click();
  await expect(filter(page)).toHaveText(`${only} and genre = '${second}'`);
  await page.goBack();
  await expect(one).toHaveAttribute("aria-pressed", "true");
  await genre.getByRole("button", { name: "Clear Genre" }).click();
  await expect(filter(page)).toHaveText(only);
  await expect(genre.getByRole("button", { name: "Clear Genre" })).toHaveCount(0);
});

test("clicks that are faster than the service all count", async ({ page, api }) => {
  const { first, second, only } = await sample(api);
  await page.route(/query\/check/, async (route) => {
    await new Promise((done) => setTimeout(done, 500));
    await route.continue();
  });
  await open(page, at(only));
  const genre = facet(page, "Genre");
  await genre.getByRole("button", { name: `${first} 2` }).click();
  await genre.getByRole("button", { name: `${second} 1` }).click();
  await facet(page, "Expiry date").getByLabel("From").fill("2000-01-01");
  await facet(page, "Expiry date").getByLabel("To").fill("2999-02-15");
  await facet(page, "Expiry date").getByLabel("To").blur();
  await expect(filter(page)).toHaveText(
    `${only} and genre in ("${first}", '${second}') and expiry_date between 2000-01-01 and 2999-02-15`,
    { timeout: 15_000 },
  );
});

test("a filter in other words is understood", async ({ page, api }) => {
  const { first, second, only } = await sample(api);
  await open(page, at(`${only} and (genre = "${first}" or genre = "${second}") and release_year > 1970 and release_year < 2000`));
  const genre = facet(page, "Genre");
  await expect(genre.getByRole("button", { name: `${first} 1` })).toHaveAttribute("aria-pressed", "true");
  await expect(genre.getByRole("button", { name: `${second} 1` })).toHaveAttribute("aria-pressed", "true");
  const years = facet(page, "Release year");
  await expect(years.getByLabel("From")).toHaveValue("1971");
  await expect(years.getByLabel("To")).toHaveValue("1999");
  await genre.getByRole("button", { name: `${first} 1` }).click();
  await expect(filter(page)).toHaveText(`${only} and release_year > 1970 and release_year < 2000 and genre = '${second}'`);
});

test("rare values can be shown", async ({ page }) => {
  await open(page, "#/movies");
  const genre = facet(page, "Genre");
  await expect(genre.getByRole("listitem")).toHaveCount(8);
  await genre.getByRole("button", { name: "More values of Genre" }).click();
  await expect(genre.getByRole("listitem").nth(20)).toBeVisible();
  await genre.getByRole("button", { name: "Fewer values of Genre" }).click();
  await expect(genre.getByRole("listitem")).toHaveCount(8);
});

test("what is typed into a range stays when the filter changes meanwhile", async ({ page, api }) => {
  const { only } = await sample(api);
  await open(page, at(only));
  const years = facet(page, "Release year");
  const bars = years.locator(".u-over");
  await bars.waitFor();
  let release = () => {};
  const released = new Promise<void>((done) => (release = done));
  await page.route("**/api/v1/query/check*", async (route) => {
    await released;
    await route.continue();
  });
  await bars.click({ position: { x: 2, y: 30 } });
  await years.getByLabel("From").fill("1962");
  release();
  await expect(filter(page)).toHaveText(`${only} and release_year = 1961`);
  await expect(years.getByLabel("To")).toHaveValue("1961");
  await expect(years.getByLabel("From")).toHaveValue("1962");
});

test("a range is brushed, typed and cleared", async ({ page, api }) => {
  const { only } = await sample(api);
  await open(page, at(only));
  const years = facet(page, "Release year");
  await expect(years.getByRole("list", { name: "Records by Release year" })).toContainText("1961: 1");
  const area = years.locator(".u-over");
  const box = await area.boundingBox();
  if (!box) throw new Error("the histogram has no size");
  const y = box.y + box.height / 2;
  // 1961 to 1999 are 39 bars.
  const x = (year: number) => box.x + (box.width * (year - 1961 + 0.5)) / 39;
  // Escape leaves the brush.
  await page.mouse.move(x(1962), y);
  await page.mouse.down();
  await page.mouse.move(x(1965), y);
  await page.keyboard.press("Escape");
  await page.mouse.up();
  await page.mouse.move(x(1970), y);
  await expect(filter(page)).toHaveText(only);
  await page.mouse.down();
  await page.mouse.move(x(1980), y, { steps: 4 });
  await page.mouse.up();
  await expect(filter(page)).toHaveText(`${only} and release_year between 1970 and 1980`);
  await expect(page.getByText("1 record", { exact: true })).toBeVisible();
  await expect(years.getByLabel("From")).toHaveValue("1970");
  // A click selects a bar. The facet above has one value fewer by now.
  await expect(facet(page, "Genre").getByRole("listitem")).toHaveCount(1);
  await area.click({ position: { x: x(1999) - box.x, y: box.height / 2 } });
  await expect(filter(page)).toHaveText(`${only} and release_year = 1999`);
  await years.getByLabel("From").fill("1962");
  await years.getByLabel("From").press("Enter");
  await expect(filter(page)).toHaveText(`${only} and release_year between 1962 and 1999`);
  await expect(page.getByText("2 records", { exact: true })).toBeVisible();
  await years.getByLabel("To").fill("1900");
  await years.getByLabel("To").press("Enter");
  await expect(years.getByRole("alert")).toContainText("must not be after");
  await years.getByRole("button", { name: "Clear Release year" }).click();
  await expect(filter(page)).toHaveText(only);
  await expect(years.getByLabel("From")).toHaveValue("");
});

test("the bars have the colours of the scheme", async ({ page }) => {
  await page.emulateMedia({ colorScheme: "light" });
  await open(page, "#/movies");
  const canvas = facet(page, "Release year").locator("canvas");
  const pixels = () => canvas.evaluate((element: HTMLCanvasElement) => element.toDataURL());
  await expect(canvas).toBeVisible();
  const light = await pixels();
  await page.emulateMedia({ colorScheme: "dark" });
  await expect.poll(pixels).not.toBe(light);
});

test("up to eighty years are bars of their own, between the true ends", async ({ page, api }) => {
  const mark = unique("Years");
  for (const release_year of [1950, 1951, 2026]) await api.movie({ title: `${mark} ${release_year}`, release_year });
  await open(page, at(`title starts with '${mark}'`));
  const years = facet(page, "Release year");
  const bars = years.getByRole("list", { name: "Records by Release year" }).getByRole("listitem");
  await expect(bars).toHaveCount(77);
  await expect(bars.nth(1)).toHaveText("1951: 1");
  await api.movie({ title: `${mark} 1871`, release_year: 1871 });
  await page.reload();
  await expect(bars.first()).toHaveText("1870–1874: 1");
  await expect(years.locator(".edges span")).toHaveText(["1871", "2026"]);
});

test("a range of days is typed", async ({ page, api }) => {
  const { only } = await sample(api);
  await open(page, at(only));
  const dates = facet(page, "Expiry date");
  await dates.getByLabel("From").fill("2021-05-05");
  await dates.getByLabel("From").blur();
  await expect(filter(page)).toHaveText(`${only} and expiry_date >= 2021-05-05`);
  await dates.getByLabel("To").fill("2999-02-01");
  await dates.getByLabel("To").blur();
  await expect(filter(page)).toHaveText(`${only} and expiry_date between 2021-05-05 and 2999-02-01`);
  await expect(page.getByText("2 records", { exact: true })).toBeVisible();
});

test("the coming months are listed, with what is past", async ({ page, api }) => {
  const { mark, first, only } = await sample(api);
  const now = new Date();
  const next = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1));
  const last = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 2, 0));
  const text = (day: Date) => day.toISOString().slice(0, 10);
  await api.movie({ title: `${mark} next`, genre: first, expiry_date: text(last) });
  await open(page, at(only));
  const dates = facet(page, "Expiry date");
  await expect(dates.getByRole("button", { name: "Chart" })).toHaveAttribute("aria-pressed", "true");
  await dates.getByRole("button", { name: "Months" }).click();
  await expect(dates.getByRole("listitem")).toHaveCount(26);
  await expect(dates.getByRole("button", { name: "Before today 1" })).toBeVisible();
  await expect(dates.getByRole("button", { name: "Later 2" })).toBeVisible();
  const month = dates.getByRole("listitem").nth(2).getByRole("button");
  await expect(month).toHaveText(/1$/);
  await month.click();
  await expect(filter(page)).toHaveText(`${only} and expiry_date between ${text(next)} and ${text(last)}`);
  await expect(page.getByText("1 record", { exact: true })).toBeVisible();
  await page.reload();
  await expect(month).toHaveAttribute("aria-pressed", "true");
  await month.click();
  await expect(filter(page)).toHaveText(only);
  await dates.getByRole("button", { name: /^Before today/ }).click();
  await expect(filter(page)).toHaveText(`${only} and expiry_date < today`);
  await accessible(page);
  await expect(dates.getByRole("button", { name: "Months" })).toHaveAttribute("aria-pressed", "true");
  await dates.getByRole("button", { name: "Chart" }).click();
  await expect(dates.getByLabel("From", { exact: true })).toBeVisible();
});

test("fields are chosen, and the choice is kept", async ({ page }) => {
  await open(page, "#/movies");
  // Nearly every title differs. The facet says so, and is left out from then on.
  await expect(facet(page, "Title").getByText(/^Too many different values to list: \d+\./)).toBeVisible();
  await facet(page, "Title").getByRole("button", { name: "show the most frequent" }).click();
  await expect(facet(page, "Title").getByRole("listitem")).toHaveCount(8);
  await page.evaluate(() => {
    const { movies } = JSON.parse(localStorage.getItem("cinequery.facets") ?? "{}");
    localStorage.setItem("cinequery.facets", JSON.stringify({ movies: { crowded: movies.crowded } }));
  });
  await page.reload();
  await expect(facet(page, "Genre")).toBeVisible();
  await expect(facet(page, "Title")).toHaveCount(0);
  await page.getByLabel("Fields of the facets").click();
  await page.getByRole("checkbox", { name: "Show Genre" }).uncheck();
  await page.getByRole("checkbox", { name: "Show Title" }).check();
  await page.getByRole("checkbox", { name: "Show Created at" }).check();
  await page.keyboard.press("Escape");
  await expect(facet(page, "Title")).toBeVisible();
  await expect(facet(page, "Genre")).toHaveCount(0);
  await page.reload();
  await expect(facet(page, "Title")).toBeVisible();
  await expect(facet(page, "Genre")).toHaveCount(0);
  const created = facet(page, "Created at");
  await created.getByLabel("To").fill("2001-01-01");
  await created.getByLabel("To").blur();
  await expect(filter(page)).toHaveText("created_at < 2001-01-02T00:00:00Z");
  await expect(created.getByLabel("To")).toHaveValue("2001-01-01");
  await expect(page.getByText("No record matches")).toBeVisible();
});

test("the facets are closed and opened", async ({ page }) => {
  await open(page, "#/movies");
  const button = page.getByRole("button", { name: "Facets" });
  await button.click();
  await expect(facet(page, "Genre")).toHaveCount(0);
  await page.reload();
  await expect(button).toHaveAttribute("aria-expanded", "false");
  await button.click();
  await expect(facet(page, "Genre").getByRole("listitem").first()).toBeVisible();
});

test("in a narrow window the facets are closed at first", async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 800 });
  const counted: string[] = [];
  page.on("request", (request) => request.url().includes("/facets?") && counted.push(request.url()));
  await open(page, "#/movies");
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  expect(counted).toEqual([]);
  await page.getByRole("button", { name: "Facets" }).click();
  await facet(page, "Genre").getByRole("button", { name: /^drama/ }).click();
  await expect(filter(page)).toHaveText("genre = 'drama'");
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  await accessible(page);
});

test("the fields of another collection are facets, with records that have no value", async ({ page, api }) => {
  const { record_types } = await api.json("GET", "api/v1/schema");
  const other = record_types.find(({ collection }: { collection: string }) => collection !== "movies");
  test.skip(!other, "the service has one collection only");
  await open(page, `#/${other.collection}`);
  await expect(page.getByRole("complementary", { name: "Facets" }).getByRole("group").first()).toBeVisible();
  const missing = page.getByRole("complementary", { name: "Facets" }).getByRole("button", { name: /^no value/ }).first();
  if ((await missing.count()) > 0) {
    await missing.click();
    await expect(filter(page)).toHaveText(/^\w+ is null$/);
    await expect(missing).toHaveAttribute("aria-pressed", "true");
    await missing.click();
    await expect(page).not.toHaveURL(/filter=/);
  }
  await accessible(page);
});

test("a failed count is shown in its place, and can be tried again", async ({ page, expected }) => {
  expected.push(/status of 500/);
  let isBroken = true;
  await page.route(/facets\?.*by=genre/, (route) =>
    isBroken ? route.fulfill({ status: 500, json: { detail: "no space left for the database", request_id: "r1", status: 500 } }) : route.continue(),
  );
  await open(page, "#/movies");
  const genre = facet(page, "Genre");
  await expect(genre.getByRole("alert")).toContainText("no space left for the database");
  // The others are counted all the same.
  await expect(facet(page, "Release year").getByText(/values$/)).toBeVisible();
  isBroken = false;
  await genre.getByRole("button", { name: "Try again" }).click();
  await expect(genre.getByRole("listitem").first()).toBeVisible();
});

test("an empty result says which condition excludes what", async ({ page, api }) => {
  const { mark, first } = await sample(api);
  const wrong = first.toUpperCase();
  await open(page, at(`genre  = "${wrong}" and (title starts with '${mark}' or title = 'x')`));
  const why = page.getByRole("region", { name: "Why no record matches" });
  await expect(why.getByText("without it: 3 records")).toBeVisible();
  await accessible(page);
  // The service writes it in canonical form.
  const instead = `genre = '${first.replace("'", "\\'")}'`;
  await why.getByRole("button", { name: `Use ${instead}` }).click();
  await expect(filter(page)).toHaveText(`${instead} and (title starts with '${mark}' or title = 'x')`);
  await expect(page.getByText("2 records", { exact: true })).toBeVisible();
  await search(page, `title starts with '${mark}' and release_year > 3000 and genre = '${unique("none")}'`);
  await expect(why.getByText("No condition alone is the cause.")).toBeVisible();
  await why.getByRole("button", { name: "Remove release_year > 3000" }).click();
  await expect(filter(page)).not.toContainText("3000");
  await why.getByRole("button", { name: /^Remove genre/ }).click();
  await expect(filter(page)).toHaveText(`title starts with '${mark}'`);
  await expect(page.getByText("3 records", { exact: true })).toBeVisible();
  await expect(why).toHaveCount(0);
});

test("records are counted when the parameters have values", async ({ page, api }) => {
  const { mark, first } = await sample(api);
  await open(page, at("title starts with $start"));
  await expect(page.getByText("Enter the values of the parameters to count records.")).toBeVisible();
  await page.getByLabel("$start").fill(mark);
  await page.getByLabel("$start").press("Enter");
  await facet(page, "Genre").getByRole("button", { name: `${first} 2` }).click();
  await expect(filter(page)).toHaveText(`title starts with $start and genre = "${first}"`);
  await expect(page.getByText("2 records", { exact: true })).toBeVisible();
});

test("conditions with parameters can be removed", async ({ page, api }) => {
  const { mark } = await sample(api);
  await open(page, at(`title starts with $start and release_year > $year`, { $start: mark, $year: "5000" }));
  const why = page.getByRole("region", { name: "Why no record matches" });
  await why.getByRole("button", { name: "Remove release_year > 5000" }).click();
  await expect(filter(page)).toHaveText("title starts with $start");
  await expect(page.getByText("3 records", { exact: true })).toBeVisible();
});

test("the filter that matches nothing is cleared", async ({ page }) => {
  await open(page, at(`title = '${unique("nothing")}'`));
  await page.getByRole("region", { name: "Why no record matches" }).getByRole("button", { name: "Clear the filter" }).click();
  await expect(page).not.toHaveURL(/filter=/);
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
});

test("the plan of a search is explained", async ({ page }) => {
  await open(page, at("title = 'Wings'"));
  await page.getByRole("button", { name: "Explain" }).click();
  const panel = page.getByRole("region", { name: "Plan of the search" });
  await expect(panel.getByText(/^(SQLite|PostgreSQL) \d/)).toBeVisible();
  await expect(panel.getByText(/index movies_title_release_year/).first()).toBeVisible();
  await expect(panel.getByRole("note")).toHaveCount(0);
  await expect(panel.getByText("Conditions: 1 of 200")).toBeVisible();
  await panel.getByText("SQL", { exact: true }).click();
  await expect(panel.getByText(/^SELECT /)).toBeVisible();
  await expect(panel.getByRole("row", { name: "1 text Wings" })).toBeVisible();
  await accessible(page);
  await search(page, "version = 7 or title contains 'zz'");
  await expect(panel.getByRole("note")).toContainText("finds nothing by an index");
  await page.reload();
  await expect(panel.getByRole("note")).toContainText("finds nothing by an index");
  await page.getByRole("button", { name: "Explain" }).click();
  await expect(panel).toHaveCount(0);
});

test("a plan that is not allowed says so", async ({ page, expected }) => {
  expected.push(/status of 403/);
  await page.route(/query\/explain/, (route) =>
    route.fulfill({ status: 403, json: { detail: "the token lacks the scope movies:read", code: "insufficient_scope", status: 403 } }),
  );
  await open(page, at("genre = 'drama'", { panel: "explain" }));
  const panel = page.getByRole("region", { name: "Plan of the search" });
  await expect(panel.getByRole("alert")).toContainText("the token lacks the scope movies:read");
  await expect(panel.getByRole("alert")).toContainText("Plans need a signed-in user");
});
