// The query bar and the table.

import { accessible, expect, filter, open, search, test, type, unique } from "./console";

test("the first page is the sample, in a table", async ({ page }) => {
  await open(page, "");
  await expect(page.getByText(/^\d+ records$/)).toBeVisible();
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  await accessible(page);
});

test("a wrong filter is underlined, explained and corrected as one types", async ({ page }) => {
  await open(page);
  await type(page, 'gnre = "drama" && relase_year > 1990');
  await expect(page.getByText("`&&` is not part of the filter language")).toBeVisible();
  await expect(page.locator(".cm-lintRange-error")).toBeVisible();
  await page.locator(".problems").getByRole("button", { name: "Apply", exact: true }).click();
  await expect(page.getByText('unknown field "gnre"; did you mean "genre"?')).toBeVisible();
  await page.getByRole("button", { name: "Apply all" }).click();
  await expect(filter(page)).toHaveText('genre = "drama" and release_year > 1990');
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await expect(page).toHaveURL(/filter=genre/);
  await accessible(page);
});

test("fields, operators and values are completed", async ({ page, api }) => {
  await open(page);
  await type(page, "gen");
  const candidates = page.getByRole("listbox").getByRole("option");
  await candidates.filter({ hasText: "genre" }).waitFor();
  await page.keyboard.press("Tab");
  await candidates.filter({ hasText: "contains" }).waitFor();
  await page.keyboard.type("= ");
  // The most frequent value of the sample comes first.
  await expect(candidates.first()).toHaveText(/'drama'/);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await expect(filter(page)).toHaveText("genre = 'drama'");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Enter");
  const params = { filter: "genre = 'drama'", limit: "1", count: "exact" };
  const { total } = await api.json("GET", "api/v1/movies", { params });
  await expect(page.locator(".total")).toHaveText(`${total} records`);
});

test("the place is in the URL, and the browser goes back to it", async ({ page, api }) => {
  await open(page);
  await search(page, "release_year < 1930");
  const params = { filter: "release_year < 1930", limit: "1", count: "exact" };
  const { total } = await api.json("GET", "api/v1/movies", { params });
  await expect(page.locator(".total")).toHaveText(`${total} records`);
  await page.getByRole("button", { name: /^Release year/ }).click();
  await page.getByRole("button", { name: /^Release year/ }).click();
  await expect(page.getByRole("columnheader", { name: /Release year/ })).toHaveAttribute("aria-sort", "descending");
  await page.reload();
  await expect(filter(page)).toHaveText("release_year < 1930");
  await expect(page.locator(".total")).toHaveText(`${total} records`);
  await expect(page.getByRole("columnheader", { name: /Release year/ })).toHaveAttribute("aria-sort", "descending");
  for (let step = 0; step < 3; step++) await page.goBack();
  await expect(filter(page)).toHaveText(/^Filter, such as|^$/);
});

test("the problem of an earlier search goes when values are missing", async ({ page }) => {
  await open(page);
  await search(page, "gnre = 1");
  await expect(page.getByRole("button", { name: "Try again" })).toBeVisible();
  await search(page, "title contains $w");
  await expect(page.getByText("Enter the values to search.")).toBeVisible();
  await expect(page.getByRole("button", { name: "Try again" })).toBeHidden();
});

test("parameters are inputs of their types", async ({ page }) => {
  await open(page);
  await search(page, "release_year between $from and $to and genre = $genre");
  await expect(page.getByText("Enter the values to search.")).toBeVisible();
  await page.getByLabel("$from").fill("1920");
  await page.getByLabel("$to").fill("1929");
  await page.getByLabel("$genre").fill("comedy");
  await page.getByLabel("$genre").press("Enter");
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  await expect(page).toHaveURL(/%24genre=comedy/);
  await page.reload();
  await expect(page.getByLabel("$genre")).toHaveValue("comedy");
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
});

test("history, examples and the canonical form are in the menu", async ({ page }) => {
  await open(page);
  await search(page, 'not genre != "war"');
  await expect(page).toHaveURL(/war/);
  const menu = page.getByLabel("History and examples");
  await menu.click();
  await page.getByRole("button", { name: "Write in canonical form" }).click();
  await expect(filter(page)).toHaveText("not genre != 'war'");
  await menu.click();
  await page.getByRole("button", { name: /^Licences that end within thirty days/ }).click();
  await expect(filter(page)).toHaveText("expiry_date between today and today + 30d");
  await menu.click();
  await page.getByRole("button", { name: 'not genre != "war"', exact: true }).click();
  await expect(filter(page)).toHaveText('not genre != "war"');
});

test("columns are chosen and moved", async ({ page }) => {
  await open(page);
  await page.getByText("Columns", { exact: true }).click();
  await page.getByLabel("Updated at", { exact: true }).check();
  await page.getByLabel("Genre", { exact: true }).uncheck();
  await page.getByRole("button", { name: "Move Release year to the left" }).click();
  await page.keyboard.press("Escape");
  const headings = page.getByRole("columnheader");
  await expect(headings).toHaveText(["", "Release year", "Title", "Expiry date", "Updated at"]);
  await page.reload();
  await expect(headings).toHaveText(["", "Release year", "Title", "Expiry date", "Updated at"]);
  // They are remembered where the place names none, until the default is chosen.
  await page.getByRole("link", { name: "Import" }).click();
  await page.getByRole("link", { name: "Records", exact: true }).click();
  await expect(page).not.toHaveURL(/fields=/);
  await expect(headings).toHaveText(["", "Release year", "Title", "Expiry date", "Updated at"]);
  await page.reload();
  await expect(headings).toHaveText(["", "Release year", "Title", "Expiry date", "Updated at"]);
  await page.getByText("Columns", { exact: true }).click();
  await page.getByRole("button", { name: "Default columns" }).click();
  await expect(headings).toHaveText(["", "Title", "Genre", "Release year", "Expiry date"]);
  await page.reload();
  await expect(headings).toHaveText(["", "Title", "Genre", "Release year", "Expiry date"]);
});

test("a search is copied for programs", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await open(page);
  await search(page, `title contains "It's"`);
  await expect(page).toHaveURL(/title/);
  for (const [name, part] of [
    ["filter", `title contains "It's"`],
    ["curl", `--data-urlencode 'filter=title contains "It'\\''s"'`],
    ["TypeScript", `filter: "title contains \\"It's\\"",`],
    ["Python", `"filter": "title contains \\"It's\\""`],
    ["Rust", `("filter", "title contains \\"It's\\""),`],
  ] as const) {
    await page.getByText("Copy as", { exact: true }).click();
    await page.getByRole("button", { name, exact: true }).click();
    await expect(page.getByText(`Copied as ${name}`)).toBeVisible();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain(part);
  }
});

test("the table is used with the keyboard alone", async ({ page }) => {
  await open(page, "#/movies?order_by=title");
  const rows = page.locator("tr[data-index]");
  await rows.first().focus();
  await page.keyboard.press("ArrowDown");
  await expect(rows.nth(1)).toBeFocused();
  await page.keyboard.press("Space");
  await expect(rows.nth(1)).toHaveAttribute("aria-selected", "true");
  await page.reload();
  await expect(rows.nth(1)).toHaveAttribute("aria-selected", "true");
  await rows.nth(1).focus();
  await page.keyboard.press("End");
  await expect(page.locator("tr:focus")).toHaveAttribute("data-index", "199");
  // The next page arrives meanwhile.
  await expect
    .poll(async () => {
      await page.keyboard.press("ArrowDown");
      return Number(await page.locator("tr:focus").getAttribute("data-index"));
    })
    .toBeGreaterThanOrEqual(200);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/record=/);
});

test("scrolling loads further pages up to the last", async ({ page }) => {
  await open(page, "#/movies?order_by=release_year");
  const table = page.locator(".table");
  const total = Number((await page.getByText(/^\d+ records$/).textContent())?.split(" ")[0]);
  await expect
    .poll(async () => {
      await table.evaluate((element) => element.scrollTo(0, element.scrollHeight));
      return page.locator(`tr[data-index="${total - 1}"]`).count();
    })
    .toBe(1);
  // Only the visible rows are in the document.
  expect(await page.locator("tr[data-index]").count()).toBeLessThan(100);
});

test("a narrow window has no horizontal scroll bar", async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 800 });
  await open(page);
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  await accessible(page);
});

test("menus stay within the window, and their texts do not overlap", async ({ page }) => {
  for (const width of [390, 1280]) {
    await page.setViewportSize({ width, height: 700 });
    await open(page);
    for (const menu of [page.getByLabel("History and examples"), page.getByText("Columns", { exact: true }), page.getByText("Copy as", { exact: true }), page.getByLabel("Account")]) {
      await menu.click();
      const items = page.locator(".menu > .items");
      const box = await items.boundingBox();
      expect(box?.x).toBeGreaterThanOrEqual(0);
      expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(width);
      expect((box?.y ?? 0) + (box?.height ?? 0)).toBeLessThanOrEqual(700);
      const cut = await items.evaluate((element) => [...element.children].filter((child) => child.scrollHeight > child.clientHeight + 1).length);
      expect(cut).toBe(0);
      await page.keyboard.press("Escape");
      await expect(items).toHaveCount(0);
    }
  }
});

test("a narrow window shows records, and what can be done with the selected ones", async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await open(page);
  const rows = page.locator("tr[data-index]");
  await expect(rows.first()).toBeVisible();
  const visible = await rows.evaluateAll((all) => all.filter((row) => row.getBoundingClientRect().bottom <= innerHeight).length);
  expect(visible).toBeGreaterThanOrEqual(8);
  await page.getByLabel("Select the loaded records").check();
  const bar = page.getByRole("region", { name: "Selection" });
  await expect(bar).toBeInViewport({ ratio: 1 });
  await page.getByRole("button", { name: "Facets" }).click();
  await expect(bar).toBeInViewport({ ratio: 1 });
  // Every view is in the window, without scrolling.
  for (const link of await page.getByRole("navigation", { name: "Views" }).getByRole("link").all()) await expect(link).toBeInViewport({ ratio: 1 });
  await bar.getByRole("button", { name: "Clear" }).click();
});

test("a notice covers neither rows nor fields", async ({ page, api }) => {
  const movie = await api.movie();
  await open(page, `#/movies?${new URLSearchParams({ filter: "release_year > 0", record: movie.id })}`);
  await page.getByLabel("Genre", { exact: true }).fill("noticed");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  const undo = page.getByRole("button", { name: "Undo" });
  await expect(undo).toBeVisible();
  const isBelow = async (text: string) => {
    const [button, area] = [await undo.boundingBox(), await page.locator(text).boundingBox()];
    return button && area && button.y >= area.y + area.height - 1;
  };
  expect(await isBelow(".table")).toBe(true);
  await page.locator("tr[data-index]").first().click();
  await expect(page.getByRole("button", { name: "Save", exact: true })).toBeVisible();
  expect(await isBelow("dialog > .content")).toBe(true);
});

test("a saved query is a candidate", async ({ page, api }) => {
  const name = unique("tested").replace(" ", "-");
  const data = { name, filter: "release_year between $from and $to", parameters: [{ name: "from", default: 1920 }, { name: "to", default: 1925 }] };
  await api.json("POST", "api/v1/queries/movies", { data });
  await open(page);
  await type(page, name);
  // The candidates for the start of the name have gone.
  await expect(page.getByRole("listbox").getByRole("option")).toHaveText([new RegExp(`${name}.*saved query`)]);
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await expect(filter(page)).toHaveText("release_year between $from and $to");
  await expect(page.getByLabel("$from")).toHaveValue("1920");
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  await api.send("DELETE", `api/v1/queries/movies/${name}`, { headers: { "If-Match": "*" } });
});

test("words without an operator are searched in the texts", async ({ page }) => {
  await open(page);
  await type(page, "jazz singer");
  await page.keyboard.press("Escape");
  const offer = page.locator(".examples", { hasText: "Search for “jazz singer” in" });
  await offer.getByRole("button", { name: "Title" }).click();
  await expect(filter(page)).toHaveText("title contains 'jazz singer'");
  await expect(page.getByRole("row", { name: /The Jazz Singer/ })).toBeVisible();
  await type(page, "noir");
  await page.keyboard.press("Escape");
  const texts = page.locator(".examples", { hasText: "Search for “noir” in" }).getByRole("button");
  await expect(texts).toHaveText(["all texts", "Title", "Genre"]);
  await texts.first().click();
  await expect(filter(page)).toHaveText("title contains 'noir' or genre contains 'noir'");
});

test("the filter is emptied with a click, and typing goes on", async ({ page }) => {
  await open(page);
  const clear = page.getByRole("button", { name: "Clear the filter" });
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  await expect(clear).toHaveCount(0);
  await search(page, "genre = 'noir'");
  await expect(page).toHaveURL(/filter=/);
  await accessible(page);
  await clear.click();
  await expect(page).not.toHaveURL(/filter=/);
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  await expect(clear).toHaveCount(0);
  await page.keyboard.type("gen");
  await expect(filter(page)).toHaveText("gen");
  // A text that was not searched for is emptied too.
  await page.keyboard.press("Escape");
  await clear.click();
  await expect(filter(page)).toHaveText(/^Filter, such as|^$/);
});

test("the rows stay until those of the next search arrive, but cannot be used", async ({ page }) => {
  await open(page);
  const first = page.getByRole("row", { name: /Safety Last!/ });
  await expect(first).toBeVisible();
  let release = () => {};
  const isReleased = new Promise<void>((done) => (release = done));
  await page.route(/movies\?filter=genre/, async (route) => {
    await isReleased;
    await route.continue();
  });
  await search(page, "genre = 'war'");
  await expect(page.locator("tbody[inert]")).toBeVisible();
  await expect(first).toBeVisible();
  await expect(page.getByLabel("Select the loaded records")).toBeDisabled();
  release();
  await expect(page.getByRole("row", { name: /Wings/ })).toBeVisible();
  await expect(first).toHaveCount(0);
  await expect(page.locator("tbody[inert]")).toHaveCount(0);
});

test("distances are in days, months and years without jumps", async ({ page, api }) => {
  const day = 24 * 60 * 60 * 1000;
  const expected = {
    "-900": "2 years ago",
    "-60": "60 days ago",
    "-1": "yesterday",
    0: "today",
    44: "in 44 days",
    45: "in 45 days",
    60: "in 60 days",
    61: "in 2 months",
    548: "in 18 months",
    730: "in 24 months",
    1060: "in 2 years",
    1100: "in 3 years",
  };
  const title = unique("Distance");
  const today = Math.floor(Date.now() / day) * day;
  for (const days of Object.keys(expected)) {
    const expiry_date = new Date(today + Number(days) * day).toISOString().slice(0, 10);
    await api.movie({ title: `${title} ${days}`, expiry_date });
  }
  await open(page, `#/movies?${new URLSearchParams({ filter: `title starts with '${title}'`, fields: "title,expiry_date,created_at" })}`);
  for (const [days, text] of Object.entries(expected)) {
    const row = page.getByRole("row", { name: `${title} ${days} `, exact: false });
    await expect(row.locator("td.date .distance")).toHaveText(text);
  }
  await expect(page.locator("tr[data-index] .timestamp .distance").first()).toHaveText(/^(just now|1 minute ago)$/);
});

test("messages start with a capital letter", async ({ page }) => {
  await open(page);
  await type(page, "gnre = 'drama'");
  const message = page.locator(".problems .problem span");
  await expect(message).toHaveText(/^unknown field/);
  expect(await message.evaluate((element) => getComputedStyle(element, "::first-letter").textTransform)).toBe("uppercase");
});

test("all columns are wide enough, and the names stay in view", async ({ page, api }) => {
  const { record_types } = await api.json("GET", "api/v1/schema");
  const { fields } = record_types.find(({ collection }: { collection: string }) => collection === "movies");
  const names = fields.map(({ name }: { name: string }) => name).join(",");
  for (const [width, least] of [[1280, 210], [390, 150]] as const) {
    await page.setViewportSize({ width, height: 800 });
    await open(page, `#/movies?fields=${names}`);
    const row = page.locator("tr[data-index]").first();
    await expect(row).toBeVisible();
    const title = row.locator("td.name");
    expect((await title.boundingBox())?.width).toBeGreaterThanOrEqual(least);
    const cut = await row.locator("td.date, td.timestamp").evaluateAll((cells) => cells.filter((cell) => cell.scrollWidth > cell.clientWidth).length);
    expect(cut).toBe(0);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    const table = page.locator(".table");
    await table.evaluate((element) => element.scrollTo(element.scrollWidth, 0));
    expect(await table.evaluate((element) => element.scrollLeft)).toBeGreaterThan(200);
    await expect(title).toBeInViewport();
    await accessible(page);
  }
});
