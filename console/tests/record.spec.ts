// The panel of a record: form, conflicts, history, match; and what is done with the selected records.

import type { Page } from "@playwright/test";
import { accessible, expect, hasUsers, open, test, unique } from "./console";
import type { Api } from "./console";

/** Of no other test, so that facets and totals of others do not change. */
const GENRE = "record test";

function create(api: Api, values: Record<string, unknown> = {}) {
  return api.movie({ genre: GENRE, title: unique("Record"), ...values });
}

function place(id: string, panel = ""): string {
  return `#/movies?record=${id}${panel && `&panel=${panel}`}`;
}

/** The place where only records with this text are shown. */
function only(text: string): string {
  return `#/movies?${new URLSearchParams({ filter: `title contains "${text}"`, order_by: "title" })}`;
}

function panel(page: Page, name: string | RegExp) {
  return page.getByRole("dialog", { name });
}

function row(page: Page, title: string) {
  return page.getByRole("row", { name: new RegExp(title) });
}

/** A change by another user. */
function changeElsewhere(api: Api, id: string, version: number, data: Record<string, unknown>) {
  return api.json("PATCH", `api/v1/movies/${id}`, { data, headers: { "If-Match": `"${version}"` } });
}

test("a record is created, and the undo deletes it", async ({ page, api }) => {
  const title = unique("Created");
  await open(page, only(title));
  await page.getByRole("button", { name: "New record" }).click();
  const form = panel(page, "New movie");
  await expect(form.getByRole("textbox", { name: "Title" })).toBeFocused();
  await form.getByRole("textbox", { name: "Title" }).fill(title);
  await form.getByRole("combobox", { name: "Genre" }).fill(GENRE);
  await form.getByRole("textbox", { name: "Release year" }).fill("2001");
  await form.getByLabel("Expiry date").fill("2031-12-31");
  await accessible(page);
  await form.getByRole("button", { name: "Create" }).click();
  await expect(form).toBeHidden();
  await expect(row(page, title)).toBeVisible();
  const sent = await api.json("GET", "api/v1/movies", { params: { filter: `title = "${title}"` } });
  expect(sent.items[0]).toMatchObject({ title, genre: GENRE, release_year: 2001, expiry_date: "2031-12-31" });
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.getByText(`Deleted “${title}” again`)).toBeVisible();
  await expect(row(page, title)).toBeHidden();
});

test("rules that are broken are shown at their fields", async ({ page }) => {
  await open(page, "#/movies?record=new");
  const form = panel(page, "New movie");
  await form.getByRole("textbox", { name: "Title" }).fill(unique("Broken"));
  await form.getByRole("textbox", { name: "Release year" }).fill("1066");
  await form.getByRole("button", { name: "Create" }).click();
  await expect(form.getByRole("combobox", { name: "Genre" })).toBeFocused();
  await expect(form.getByRole("combobox", { name: "Genre" })).toHaveAccessibleDescription(/is missing/);
  await expect(form.getByRole("textbox", { name: "Release year" })).toHaveAccessibleDescription(/must be from 1870 to 9999, found 1066/);
  await expect(form.getByRole("textbox", { name: "Title" })).not.toHaveAttribute("aria-invalid");
  await expect(form.getByRole("alert")).toHaveText("Not saved: 3 values are not valid.");
  await accessible(page);
  // What is corrected is no longer marked, and the focus stays where the user types.
  await form.getByRole("combobox", { name: "Genre" }).pressSequentially("dr");
  await expect(form.getByRole("combobox", { name: "Genre" })).toHaveValue("dr");
  await expect(form.getByRole("combobox", { name: "Genre" })).not.toHaveAttribute("aria-invalid");
  await expect(form.getByText(/is missing/)).toHaveCount(1);
  await expect(form.getByRole("alert")).toHaveText("Not saved: 2 values are not valid.");
});

test("a duplicate leads to the record that exists", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, "#/movies?record=new");
  const form = panel(page, "New movie");
  await form.getByRole("textbox", { name: "Title" }).fill(movie.title);
  await form.getByRole("combobox", { name: "Genre" }).fill("other");
  await form.getByRole("textbox", { name: "Release year" }).fill("1999");
  await form.getByLabel("Expiry date").fill("2031-12-31");
  await form.getByRole("button", { name: "Create" }).click();
  await form.getByRole("button", { name: "Open the existing record" }).click();
  await expect(panel(page, movie.title).getByRole("combobox", { name: "Genre" })).toHaveValue(GENRE);
});

test("only what was changed is sent, and the undo changes it back", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, only(movie.title));
  await row(page, movie.title).focus();
  await page.keyboard.press("Enter");
  const form = panel(page, movie.title);
  await expect(form.getByRole("button", { name: "Save" })).toBeDisabled();
  await form.getByRole("textbox", { name: "Release year" }).fill("2002");
  await expect(form.getByText("changed", { exact: true })).toHaveCount(1);
  const sent = page.waitForRequest((request) => request.method() === "PATCH");
  await page.keyboard.press("ControlOrMeta+s");
  const request = await sent;
  expect(request.postDataJSON()).toEqual({ release_year: 2002 });
  expect(request.headers()).toMatchObject({ "if-match": '"1"', "content-type": "application/merge-patch+json" });
  await expect(form).toBeHidden();
  await expect(row(page, movie.title)).toContainText("2002");
  await expect(row(page, movie.title)).toBeFocused();
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(row(page, movie.title)).toContainText("1999");
  expect(await api.json("GET", `api/v1/movies/${movie.id}`)).toMatchObject({ release_year: 1999, version: 3 });
});

test("changes of this tab are undone once, also by the list", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, `${only(movie.title)}&record=${movie.id}`);
  const form = panel(page, movie.title);
  await form.getByRole("textbox", { name: "Release year" }).fill("2002");
  await form.getByRole("button", { name: "Save" }).click();
  await expect(row(page, movie.title)).toContainText("2002");
  await page.getByRole("button", { name: "Recent changes" }).click();
  const list = panel(page, "Recent changes");
  await list.getByRole("button", { name: `Undo: Changed “${movie.title}”` }).click();
  await panel(page, "Undo this change?").getByRole("button", { name: "Undo the change" }).click();
  await expect(list.getByRole("listitem")).toContainText([/Undone/]);
  await list.getByRole("button", { name: "Undo", exact: true }).click();
  await expect(page.getByText("This was undone already")).toBeVisible();
  expect(await api.json("GET", `api/v1/movies/${movie.id}`)).toMatchObject({ release_year: 1999, version: 3 });
});

test("a record is deleted, and the undo restores it with its id", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, only(movie.title));
  await row(page, movie.title).click();
  await panel(page, movie.title).getByRole("button", { name: "Delete …" }).click();
  const question = panel(page, `Delete “${movie.title}”?`);
  await expect(question.getByText(/You can undo this/)).toBeVisible();
  await expect(question.getByRole("button", { name: "Cancel" })).toBeFocused();
  await accessible(page);
  await question.getByRole("button", { name: "Delete" }).click();
  await expect(row(page, movie.title)).toBeHidden();
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(row(page, movie.title)).toBeVisible();
  expect((await api.json("GET", `api/v1/movies/${movie.id}`)).title).toBe(movie.title);
});

test("a date that is typed in part is not saved", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, `${only(movie.title)}&record=${movie.id}`);
  const form = panel(page, movie.title);
  await form.getByLabel("Expiry date").focus();
  await page.keyboard.press("Backspace");
  await page.keyboard.press("Control+s");
  await expect(form.getByLabel("Expiry date")).toBeFocused();
  const { expiry_date } = await api.json("GET", `api/v1/movies/${movie.id}`);
  expect(expiry_date).toBe("2031-12-31");
});

test("values of other records are suggested", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, place(movie.id));
  const form = panel(page, movie.title);
  await form.getByRole("combobox", { name: "Genre" }).fill("come");
  await expect(form.locator("datalist option[value=comedy]")).toBeAttached();
});

test("unsaved values survive a reload and are asked about", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, place(movie.id));
  const form = panel(page, movie.title);
  await form.getByRole("combobox", { name: "Genre" }).fill("unsaved");
  await page.reload();
  await expect(form.getByRole("combobox", { name: "Genre" })).toHaveValue("unsaved");
  await expect(form.getByText("Your unsaved values are shown.")).toBeVisible();
  const question = panel(page, "Discard changes?");
  await page.keyboard.press("Escape");
  await expect(question).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(question).toBeHidden();
  await expect(form).toBeVisible();
  await expect(form.getByRole("combobox", { name: "Genre" })).toHaveValue("unsaved");
  await form.getByRole("button", { name: "Close" }).click();
  await question.getByRole("button", { name: "Discard" }).click();
  await expect(form).toBeHidden();
  await open(page, place(movie.id));
  await page.reload();
  await expect(form.getByRole("combobox", { name: "Genre" })).toHaveValue(GENRE);
});

test("values are copied into the form of a new record", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, place(movie.id));
  await panel(page, movie.title).getByRole("button", { name: "Copy" }).click();
  const form = panel(page, "New movie");
  await expect(form.getByRole("textbox", { name: "Title" })).toHaveValue(movie.title);
  await form.getByRole("textbox", { name: "Release year" }).fill("2003");
  await form.getByRole("button", { name: "Create" }).click();
  await expect(page.getByText(`Created “${movie.title}”`)).toBeVisible();
});

test.describe("a record that another user has changed", () => {
  async function conflict(page: Page, api: Api) {
    const movie = await create(api);
    await open(page, place(movie.id));
    const form = panel(page, movie.title);
    await form.getByRole("combobox", { name: "Genre" }).fill("mine");
    await form.getByRole("textbox", { name: "Release year" }).fill("2001");
    await changeElsewhere(api, movie.id, 1, { genre: "theirs", expiry_date: "2040-01-01" });
    await form.getByRole("button", { name: "Save" }).click();
    await expect(form.getByText(/The record was changed .* while you edited it/)).toBeVisible();
    return { movie, form };
  }

  test("is merged: fields that only one side has changed are taken", async ({ page, api }) => {
    const { movie, form } = await conflict(page, api);
    await expect(form.getByRole("button", { name: "Save" })).toBeDisabled();
    await expect(form.getByRole("radio", { name: "Release year: mine" })).toBeChecked();
    await expect(form.getByRole("radio", { name: "Expiry date: theirs" })).toBeChecked();
    await expect(form.getByRole("radio", { name: /^Genre/ })).toHaveCount(2);
    await accessible(page);
    await form.getByRole("radio", { name: "Genre: theirs" }).check();
    await form.getByRole("button", { name: "Save" }).click();
    await expect(form).toBeHidden();
    expect(await api.json("GET", `api/v1/movies/${movie.id}`)).toMatchObject({
      genre: "theirs",
      release_year: 2001,
      expiry_date: "2040-01-01",
      version: 3,
    });
  });

  test("is saved with mine", async ({ page, api }) => {
    const { movie, form } = await conflict(page, api);
    await form.getByRole("button", { name: "Keep mine" }).click();
    await form.getByRole("button", { name: "Save" }).click();
    await expect(form).toBeHidden();
    expect(await api.json("GET", `api/v1/movies/${movie.id}`)).toMatchObject({
      genre: "mine",
      release_year: 2001,
      expiry_date: "2031-12-31",
    });
  });

  test("stays as the other user has left it", async ({ page, api }) => {
    const { movie, form } = await conflict(page, api);
    await form.getByRole("button", { name: "Take theirs" }).click();
    await form.getByRole("button", { name: "Discard my changes" }).click();
    await expect(form).toBeHidden();
    expect(await api.json("GET", `api/v1/movies/${movie.id}`)).toMatchObject({ genre: "theirs", release_year: 1999, version: 2 });
  });

  test("is created again if it was deleted", async ({ page, api }) => {
    const movie = await create(api);
    await open(page, place(movie.id));
    const form = panel(page, movie.title);
    await form.getByRole("textbox", { name: "Release year" }).fill("2004");
    await api.send("DELETE", `api/v1/movies/${movie.id}`);
    await form.getByRole("button", { name: "Save" }).click();
    await expect(form.getByText("This record was deleted meanwhile.")).toBeVisible();
    await form.getByRole("button", { name: "Create it again with your values" }).click();
    await expect(form).toBeHidden();
    expect(await api.json("GET", `api/v1/movies/${movie.id}`)).toMatchObject({ title: movie.title, release_year: 2004 });
  });
});

test("the history shows each change, and restores a version", async ({ page, api }) => {
  const movie = await create(api);
  for (let version = 1; version <= 21; version++) {
    await changeElsewhere(api, movie.id, version, { release_year: 1950 + version });
  }
  await open(page, place(movie.id, "history"));
  const history = panel(page, movie.title);
  const last = history.getByRole("listitem", { name: "Version 22" });
  await expect(last).toContainText(/Changed by .+version 22, current/);
  await expect(last.getByRole("deletion")).toHaveText("1970");
  await expect(last.getByRole("insertion")).toHaveText("1971");
  await expect(last.getByRole("button", { name: "Restore this version" })).toBeHidden();
  await expect(history.getByRole("listitem", { name: "Version 1", exact: true })).toBeHidden();
  await history.getByRole("button", { name: "Earlier versions" }).click();
  const first = history.getByRole("listitem", { name: "Version 1", exact: true });
  await expect(first).toContainText("Created by");
  await accessible(page);
  await first.getByRole("button", { name: "Restore this version" }).click();
  await expect(history.getByRole("listitem", { name: "Version 23" })).toContainText(/1971 → 1999/);
  expect((await api.json("GET", `api/v1/movies/${movie.id}`)).release_year).toBe(1999);
  // The notice is in the dialog: the page below it cannot be reached.
  await history.getByRole("button", { name: "Undo" }).click();
  await expect(history.getByRole("listitem", { name: "Version 24" })).toBeVisible();
  expect((await api.json("GET", `api/v1/movies/${movie.id}`)).release_year).toBe(1971);
  await page.reload();
  await expect(history.getByRole("tab", { name: "History" })).toHaveAttribute("aria-selected", "true");
  await history.getByRole("tab", { name: "History" }).press("ArrowLeft");
  await expect(history.getByRole("tab", { name: "Form" })).toBeFocused();
  await expect(history.getByRole("textbox", { name: "Release year" })).toHaveValue("1971");
});

test("the history is not in the future if the clock of the browser is behind", async ({ page, api }) => {
  await page.clock.setFixedTime(Date.now() - 2 * 60 * 60 * 1000);
  const movie = await create(api);
  await open(page, place(movie.id, "history"));
  const version = panel(page, movie.title).getByRole("listitem", { name: "Version 1" });
  await expect(version).toContainText("Created by");
  await expect(version.getByRole("time")).not.toContainText(/in [1-9]/);
});

test("a deleted record is restored from its history", async ({ page, api }) => {
  const movie = await create(api);
  await api.send("DELETE", `api/v1/movies/${movie.id}`);
  await open(page, place(movie.id));
  await expect(page.getByText(/There is no record with this id/)).toBeVisible();
  await page.getByRole("tab", { name: "History" }).click();
  await page.getByRole("listitem", { name: "Version 1", exact: true }).getByRole("button", { name: "Restore this version" }).click();
  await expect(panel(page, movie.title).getByRole("listitem", { name: "Version 3" })).toContainText("Restored by");
});

test("the history is erased by an administrator only", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, place(movie.id, "history"));
  const history = panel(page, movie.title);
  await expect(history.getByRole("listitem", { name: "Version 1", exact: true })).toBeVisible();
  const erase = history.getByRole("button", { name: "Erase the history …" });
  if (!hasUsers) {
    await expect(erase).toBeHidden();
    return;
  }
  await erase.click();
  await panel(page, "Erase the history?").getByRole("button", { name: "Erase" }).click();
  await expect(history.getByText("History erased")).toBeVisible();
  await expect(history.getByText("Created")).toBeHidden();
});

test("a tab shows why the filter does not match the record", async ({ page, api }) => {
  const movie = await create(api);
  const filter = `(title contains "é ü" or genre = "${GENRE}") and release_year > 2000`;
  await open(page, `#/movies?${new URLSearchParams({ filter, record: movie.id, panel: "match" })}`);
  const match = panel(page, movie.title);
  await expect(match.getByText("The filter does not match this record.")).toBeVisible();
  await expect(match.getByRole("tab", { name: "Why not found?" })).toHaveAttribute("aria-selected", "true");
  const tests = match.getByRole("table").getByRole("row");
  await expect(tests).toHaveCount(4);
  await expect(tests.nth(1)).toContainText(/title contains 'é ü'.*false/);
  await expect(tests.nth(2)).toContainText(/genre = 'record test'.*true/);
  await expect(tests.nth(3)).toContainText(/release_year > 2000.*1999.*false/);
  await expect(match.locator("mark")).toHaveText([/title contains "é ü"$/, /genre = "record test"$/, /release_year > 2000$/]);
  await accessible(page);
  await match.getByLabel("Filter").fill("release_year < 2000");
  await expect(match.getByText("The filter matches this record.")).toBeVisible();
  await expect(match.getByRole("tab", { name: "Why found?" })).toBeVisible();
  await page.reload();
  await expect(match.getByLabel("Filter")).toHaveValue("release_year < 2000");
  await match.getByLabel("Filter").fill("release_yer < 2000");
  await expect(match.getByRole("alert")).toContainText("release_yer");
  await match.getByRole("button", { name: "Filter of the search" }).click();
  await expect(match.getByLabel("Filter")).toHaveValue(filter);
});

test("a missing record is found by its title", async ({ page, api }) => {
  const movie = await create(api);
  await open(page, `#/movies?${new URLSearchParams({ filter: "release_year > 2010" })}`);
  await page.getByRole("button", { name: "Why is … not found?" }).click();
  await page.getByRole("searchbox", { name: "Title" }).fill(movie.title.slice(2));
  await page.getByRole("list", { name: "Records" }).getByRole("button", { name: movie.title }).click();
  await expect(panel(page, movie.title).getByText("The filter does not match this record.")).toBeVisible();
});

test.describe("selected records", () => {
  async function several(api: Api) {
    const title = unique("Several");
    const movies = [];
    for (const part of ["a", "b", "c"]) movies.push(await create(api, { title: `${title} ${part}` }));
    return { title, movies };
  }

  async function selectAll(page: Page) {
    await page.getByRole("checkbox", { name: "Select the loaded records" }).check();
    await expect(page.getByRole("region", { name: "Selection" })).toBeVisible();
  }

  test("are changed with a preview, and changed back", async ({ page, api }) => {
    const { title } = await several(api);
    await open(page, only(title));
    await expect(row(page, `${title} c`)).toBeVisible();
    await selectAll(page);
    const bar = page.getByRole("region", { name: "Selection" });
    await expect(bar).toContainText("3 selected");
    await accessible(page);
    await bar.getByRole("button", { name: "Change fields …" }).click();
    const dialog = panel(page, "Change 3 selected");
    await dialog.getByRole("checkbox", { name: "Genre" }).check();
    await dialog.getByRole("combobox", { name: "Genre" }).fill(`${GENRE} 2`);
    await dialog.getByRole("checkbox", { name: "Expiry date" }).check();
    await dialog.getByRole("textbox", { name: "Expiry date" }).or(dialog.locator("input[type=date]")).first().fill("2041-01-01");
    await expect(dialog.getByRole("row", { name: `${title} a` })).toContainText(/record test.*record test 2.*2031-12-31.*2041-01-01/);
    await accessible(page);
    await dialog.getByRole("button", { name: "Change 3", exact: true }).click();
    await expect(dialog).toBeHidden();
    await expect(page.getByText("Changed 3 records")).toBeVisible();
    await expect(row(page, `${title} b`)).toContainText("2041-01-01");
    await expect(bar).toBeHidden();
    await page.getByRole("button", { name: "Undo" }).click();
    await expect(page.getByText("Changed 3 records back")).toBeVisible();
    await expect(row(page, `${title} b`)).toContainText("2031-12-31");
  });

  test("that are rejected are reported and stay selected", async ({ page, api }) => {
    const { title, movies } = await several(api);
    await open(page, only(title));
    await expect(row(page, `${title} c`)).toBeVisible();
    await selectAll(page);
    await changeElsewhere(api, movies[1]!.id, 1, { release_year: 1980 });
    await page.getByRole("button", { name: "Change fields …" }).click();
    const dialog = panel(page, /^Change/);
    await dialog.getByRole("checkbox", { name: "Expiry date" }).check();
    await dialog.locator("input[type=date]").fill("2041-01-01");
    await dialog.getByRole("button", { name: "Change 3", exact: true }).click();
    await expect(dialog.getByRole("alert")).toContainText(`${title} b: the record has version "2" now`);
    await dialog.getByRole("button", { name: "Change 1", exact: true }).click();
    await expect(dialog).toBeHidden();
    for (const { id } of movies) expect((await api.json("GET", `api/v1/movies/${id}`)).expiry_date).toBe("2041-01-01");
  });

  test("that would be invalid are reported", async ({ page, api }) => {
    const { title } = await several(api);
    await open(page, only(title));
    await expect(row(page, `${title} c`)).toBeVisible();
    await selectAll(page);
    await page.getByRole("button", { name: "Change fields …" }).click();
    const dialog = panel(page, /^Change/);
    await dialog.getByRole("checkbox", { name: "Release year" }).check();
    await dialog.getByRole("textbox", { name: "Release year" }).fill("3");
    await dialog.getByRole("button", { name: "Change 3", exact: true }).click();
    await expect(dialog.getByRole("alert")).toContainText("must be from 1870 to 9999, found 3");
    await page.keyboard.press("Escape");
    await expect(page.getByRole("region", { name: "Selection" })).toContainText("3 selected");
  });

  test("are deleted and restored", async ({ page, api }) => {
    const { title, movies } = await several(api);
    await open(page, only(title));
    await row(page, `${title} a`).getByRole("checkbox").check();
    await row(page, `${title} b`).focus();
    await page.keyboard.press(" ");
    await page.getByRole("region", { name: "Selection" }).getByRole("button", { name: "Delete …" }).click();
    const dialog = panel(page, "Delete 2 records?");
    await expect(dialog.getByRole("listitem")).toHaveText([`${title} a`, `${title} b`]);
    await accessible(page);
    await dialog.getByRole("button", { name: "Delete 2" }).click();
    await expect(row(page, `${title} a`)).toBeHidden();
    await expect(row(page, `${title} c`)).toBeVisible();
    await page.getByRole("button", { name: "Undo" }).click();
    await expect(page.getByText("Restored 2 records")).toBeVisible();
    await expect(row(page, `${title} a`)).toBeVisible();
    expect((await api.json("GET", `api/v1/movies/${movies[0]!.id}`)).title).toBe(`${title} a`);
  });

  test("can be all that match: changed and changed back", async ({ page, api }) => {
    const { title, movies } = await several(api);
    await open(page, only(title));
    await row(page, `${title} a`).getByRole("checkbox").check();
    const bar = page.getByRole("region", { name: "Selection" });
    await bar.getByRole("button", { name: "Select all 3 that match" }).click();
    await expect(bar).toContainText("All 3 that match");
    await bar.getByRole("button", { name: "Change fields …" }).click();
    const dialog = panel(page, "Change all 3 that match");
    await dialog.getByRole("checkbox", { name: "Release year" }).check();
    await dialog.getByRole("textbox", { name: "Release year" }).fill("1888");
    await expect(dialog.getByRole("row", { name: `${title} c` })).toContainText(/1999.*1888/);
    await dialog.getByRole("button", { name: "Change all 3" }).click();
    await expect(page.getByText("Changed 3 records")).toBeVisible();
    await expect(row(page, `${title} c`)).toContainText("1888");
    await page.getByRole("button", { name: "Undo" }).click();
    await expect(row(page, `${title} c`)).toContainText("1999");
    expect(await api.json("GET", `api/v1/movies/${movies[2]!.id}`)).toMatchObject({ release_year: 1999, version: 3 });
  });

  test("that match are not written over changes in between", async ({ page, api }) => {
    const { title, movies } = await several(api);
    await open(page, only(title));
    await row(page, `${title} a`).getByRole("checkbox").check();
    const bar = page.getByRole("region", { name: "Selection" });
    await bar.getByRole("button", { name: "Select all 3 that match" }).click();
    await bar.getByRole("button", { name: "Change fields …" }).click();
    const dialog = panel(page, "Change all 3 that match");
    await dialog.getByRole("checkbox", { name: "Release year" }).check();
    await dialog.getByRole("textbox", { name: "Release year" }).fill("1888");
    // Another user is faster, after the records were read and before they are written.
    const [first] = movies;
    await page.route("**/api/v1/movies/batch", async (route) => {
      await api.json("PATCH", `api/v1/movies/${first!.id}`, {
        data: { genre: "theirs" },
        headers: { "If-Match": "*", "Content-Type": "application/merge-patch+json" },
      });
      await route.continue();
    }, { times: 1 });
    await dialog.getByRole("button", { name: "Change all 3" }).click();
    await expect(page.getByText("Changed 2 records")).toBeVisible();
    expect(await api.json("GET", `api/v1/movies/${first!.id}`)).toMatchObject({ genre: "theirs", release_year: 1999 });
  });

  test("can be all that match: deleted and restored", async ({ page, api }) => {
    const { title } = await several(api);
    await open(page, only(title));
    await row(page, `${title} a`).getByRole("checkbox").check();
    await page.getByRole("button", { name: "Select all 3 that match" }).click();
    await page.getByRole("region", { name: "Selection" }).getByRole("button", { name: "Delete …" }).click();
    await panel(page, "Delete all 3 records?").getByRole("button", { name: "Delete 3" }).click();
    await expect(row(page, title)).toHaveCount(0);
    await page.getByRole("button", { name: "Undo" }).click();
    await expect(page.getByText("Restored 3 records")).toBeVisible();
    await expect(row(page, title)).toHaveCount(3);
  });

  test("are changed back after a reload, except those that others have changed", async ({ page, api }) => {
    const { title, movies } = await several(api);
    await open(page, only(title));
    await expect(page.getByRole("button", { name: "Recent changes" })).toBeHidden();
    await expect(row(page, `${title} c`)).toBeVisible();
    await selectAll(page);
    await page.getByRole("button", { name: "Change fields …" }).click();
    const change = panel(page, "Change 3 selected");
    await change.getByRole("checkbox", { name: "Release year" }).check();
    await change.getByRole("textbox", { name: "Release year" }).fill("1888");
    await change.getByRole("button", { name: "Change 3" }).click();
    await expect(page.getByText("Changed 3 records: Release year")).toBeVisible();
    await changeElsewhere(api, movies[0]!.id, 2, { genre: "theirs" });
    await page.reload();
    await page.getByRole("button", { name: "Recent changes" }).click();
    const list = panel(page, "Recent changes");
    await expect(list.getByRole("listitem")).toContainText([/Changed 3 records: Release year/]);
    await accessible(page);
    await list.getByRole("button", { name: "Undo: Changed 3 records: Release year" }).click();
    const question = panel(page, "Undo this change?");
    await expect(question).toContainText("Records that were changed since then stay as they are");
    await accessible(page);
    await question.getByRole("button", { name: "Undo the change" }).click();
    await expect(page.getByText(`Restored 2 records; “${title} a” changed since then and stayed as it is`)).toBeVisible();
    await expect(list.getByRole("listitem")).toContainText([/Undone/]);
    await expect(list.getByRole("button", { name: /^Undo/ })).toHaveCount(0);
    expect(await api.json("GET", `api/v1/movies/${movies[0]!.id}`)).toMatchObject({ genre: "theirs", release_year: 1888 });
    expect(await api.json("GET", `api/v1/movies/${movies[1]!.id}`)).toMatchObject({ release_year: 1999, version: 3 });
    await list.getByRole("button", { name: "Close" }).click();
    await expect(row(page, `${title} c`)).toContainText("1999");
  });

  test("are restored after a reload if they were deleted", async ({ page, api }) => {
    const { title } = await several(api);
    await open(page, only(title));
    await expect(row(page, `${title} c`)).toBeVisible();
    await selectAll(page);
    await page.getByRole("button", { name: "Delete …" }).click();
    await panel(page, "Delete 3 records?").getByRole("button", { name: "Delete 3" }).click();
    await expect(page.getByText("Deleted 3 records")).toBeVisible();
    await page.reload();
    await page.getByRole("button", { name: "Recent changes" }).click();
    await page.getByRole("button", { name: "Undo: Deleted 3 records" }).click();
    await panel(page, "Undo this change?").getByRole("button", { name: "Undo the change" }).click();
    await expect(page.getByText("Restored 3 records")).toBeVisible();
    await panel(page, "Recent changes").getByRole("button", { name: "Close" }).click();
    await expect(row(page, title)).toHaveCount(3);
  });

  test("are listed without an undo if they are too many to be kept", async ({ page, api }) => {
    const { title } = await several(api);
    await open(page, only(title));
    await page.evaluate(() => {
      const change = { id: 1, at: new Date().toISOString(), collection: "movies", text: "Deleted 2,001 records", kind: "deleted", records: [], isUndone: false };
      sessionStorage.setItem("cinequery.recent", JSON.stringify([change]));
    });
    await page.reload();
    await page.getByRole("button", { name: "Recent changes" }).click();
    const list = panel(page, "Recent changes");
    await expect(list.getByRole("listitem")).toContainText([/more than 2,000 records are not kept/]);
    await expect(list.getByRole("button", { name: /^Undo/ })).toHaveCount(0);
  });

  test("can be cleared", async ({ page, api }) => {
    const { title } = await several(api);
    await open(page, only(title));
    await expect(row(page, `${title} c`)).toBeVisible();
    await selectAll(page);
    await page.getByRole("region", { name: "Selection" }).getByRole("button", { name: "Clear" }).click();
    await expect(page.getByRole("region", { name: "Selection" })).toBeHidden();
    await expect(row(page, `${title} a`).getByRole("checkbox")).not.toBeChecked();
  });
});

test("the form of any collection is made from its schema", async ({ page, api }) => {
  const { record_types } = await api.json("GET", "api/v1/schema");
  const type = record_types.find(({ fields }: any) => fields.some((field: any) => field.writable && field.nullable));
  test.skip(!type, "no collection has an optional field");
  await open(page, `#/${type.collection}?record=new`);
  const form = panel(page, `New ${type.name.toLowerCase()}`);
  const fields = type.fields.filter((field: any) => field.writable);
  const labelOf = (name: string) => (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");
  const title = fields.find((field: any) => field.type === "text").name;
  const input = (name: string) => form.getByLabel(labelOf(name), { exact: true });
  const id = "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50";
  const values: any = { text: "a", integer: 1, boolean: true, date: "2031-12-31", timestamp: "2031-12-31T00:00:00Z", id };
  for (const { name, type: kind, nullable, example } of fields) {
    const value = String(example ?? values[kind]);
    if (kind === "boolean") await input(name).selectOption(value);
    else await input(name).fill(name === title ? unique("Any").slice(-12) : value);
    if (!nullable) continue;
    // A value and back to none.
    await form.getByRole("button", { name: `Clear ${labelOf(name)}`, exact: true }).click();
    await expect(input(name)).toHaveValue("");
  }
  await accessible(page);
  const sent = page.waitForResponse((response) => response.request().method() === "POST" && response.url().includes(type.collection));
  await form.getByRole("button", { name: "Create" }).click();
  const record = await (await sent).json();
  for (const { name, nullable } of fields) if (nullable) expect(record[name]).toBeNull();
  await expect(form).toBeHidden();
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.getByText(/^Deleted “.*” again$/)).toBeVisible();
});

test("a viewer reads and does not write", async ({ page, api }) => {
  test.skip(!hasUsers, "the service has no roles");
  const movie = await create(api);
  const viewer = { name: unique("viewer").replace(" ", "_"), password: unique("a long password"), role: "viewer" };
  await api.json("POST", "api/v1/users", { data: viewer });
  await page.goto(`./${place(movie.id)}`);
  await page.getByLabel("User name").fill(viewer.name);
  await page.getByLabel("Password").fill(viewer.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  const record = panel(page, movie.title);
  await expect(record.getByText(GENRE)).toBeVisible();
  await expect(record.getByRole("button", { name: "Save" })).toBeHidden();
  await accessible(page);
  await record.getByRole("tab", { name: "History" }).click();
  await expect(record.getByText(/^Created/)).toBeVisible();
  await expect(record.getByRole("button", { name: "Restore this version" })).toBeHidden();
  await page.keyboard.press("Escape");
  await page.getByRole("checkbox", { name: "Select the loaded records" }).check();
  const bar = page.getByRole("region", { name: "Selection" });
  await expect(bar.getByRole("button", { name: "Clear" })).toBeVisible();
  await expect(bar.getByRole("button", { name: /…/ })).toHaveCount(0);
});

test("the panel fits a narrow window", async ({ page, api }) => {
  await page.setViewportSize({ width: 390, height: 800 });
  const movie = await create(api);
  for (const part of ["", "history", "match"]) {
    await open(page, place(movie.id, part));
    await page.reload();
    await expect(panel(page, movie.title)).toBeVisible();
    const width = await panel(page, movie.title).evaluate((dialog) => dialog.scrollWidth);
    expect(width).toBeLessThanOrEqual(390);
    await accessible(page);
  }
});
