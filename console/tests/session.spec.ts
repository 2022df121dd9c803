// Signing in, sessions that end, and what happens without the service.

import { expect, filter, hasUsers, open, search, test, unique } from "./console";

const PASSWORD = "a long password of its own";

test.describe("with users", () => {
  test.skip(!hasUsers, "this service has no passwords");

  /** Creates a user, and returns the name. */
  async function user(api: { json(method: string, path: string, options?: object): Promise<unknown> }, role: string) {
    const name = unique("reader").replaceAll(" ", "-");
    await api.json("POST", "api/v1/users", { data: { name, password: PASSWORD, role } });
    return name;
  }

  async function signIn(page: import("@playwright/test").Page, name: string, password = PASSWORD) {
    const form = page.getByRole("dialog", { name: "Sign in" });
    await form.getByLabel("User name").fill(name);
    await form.getByLabel("Password").fill(password);
    await form.getByRole("button", { name: "Sign in" }).click();
  }

  test("a wrong password is reported, and the right one opens the place of the URL", async ({ page, api }) => {
    const name = await user(api, "viewer");
    await page.goto("./#/movies?filter=release_year+%3C+1930");
    await expect(page.getByRole("dialog", { name: "Sign in" }).getByText("cinequery")).toBeVisible();
    await signIn(page, name, "a wrong password of no use");
    await expect(page.getByRole("alert")).toContainText("password");
    await signIn(page, name);
    await expect(filter(page)).toHaveText("release_year < 1930");
    await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
    // A viewer is offered nothing that a viewer may not do.
    await expect(page.getByRole("button", { name: "New record" })).toHaveCount(0);
    await expect(page.getByRole("link", { name: "Import" })).toHaveCount(0);
    await expect(page.getByRole("link", { name: "Users" })).toHaveCount(0);
  });

  test("a reload keeps the session, and no script can read its token", async ({ page, api }) => {
    await page.goto("./");
    await signIn(page, await user(api, "editor"));
    await expect(page.getByRole("button", { name: "New record" })).toBeVisible();
    await page.reload();
    await expect(page.getByRole("button", { name: "New record" })).toBeVisible();
    const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
    expect(stored).not.toMatch(/eyJ/);
  });

  test("a session that ends says so, and comes back where it was", async ({ page, api }) => {
    const name = await user(api, "editor");
    await page.goto("./");
    await signIn(page, name);
    await search(page, "release_year < 1930");
    await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
    await api.json("POST", "api/v1/revocations", { data: { subject: name } });
    await expect(async () => {
      await page.getByRole("button", { name: "Search", exact: true }).click();
      await expect(page.getByText("Your session has ended.")).toBeVisible({ timeout: 500 });
    }).toPass();
    await signIn(page, name);
    await expect(page.getByRole("dialog")).toHaveCount(0);
    await expect(filter(page)).toHaveText("release_year < 1930");
    await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  });

  test("signing out ends the session and leaves nothing for the next user", async ({ page, api }) => {
    await page.goto("./");
    const name = await user(api, "viewer");
    await signIn(page, name);
    await search(page, "release_year < 1930");
    await page.getByRole("row", { name: /Safety Last!/ }).getByRole("checkbox").check();
    await page.getByText(name, { exact: true }).click();
    await page.getByRole("button", { name: "Sign out" }).click();
    await expect(page.getByRole("dialog", { name: "Sign in" })).toBeVisible();
    await page.reload();
    await expect(page.getByRole("dialog", { name: "Sign in" })).toBeVisible();
    expect(page.url()).not.toContain("1930");
    expect(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]))).toBe("[{},{}]");
  });

  test("a tab does not go on as the user of another tab", async ({ page, api, context }) => {
    const [name, other] = [await user(api, "editor"), await user(api, "viewer")];
    await page.goto("./");
    await signIn(page, name);
    await expect(page.getByText(name, { exact: true })).toBeVisible();
    const second = await context.newPage();
    await second.goto("./");
    await second.getByText(name, { exact: true }).click();
    await second.getByRole("button", { name: "Sign out" }).click();
    await signIn(second, other);
    await expect(second.getByText(other, { exact: true })).toBeVisible();
    // The page of the first user is gone.
    await expect(page.getByText(name, { exact: true })).toHaveCount(0);
    await expect(page.getByRole("dialog", { name: "Sign in" })).toBeVisible();
    await second.close();
  });

  test("another user after an ended session starts anew", async ({ page, api }) => {
    const [name, other] = [await user(api, "editor"), await user(api, "viewer")];
    await page.goto("./");
    await signIn(page, name);
    await search(page, "release_year < 1930");
    await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
    await api.json("POST", "api/v1/revocations", { data: { subject: name } });
    await expect(async () => {
      await page.getByRole("button", { name: "Search", exact: true }).click();
      await expect(page.getByText("Your session has ended.")).toBeVisible({ timeout: 500 });
    }).toPass();
    await signIn(page, other);
    await expect(page.getByText(other, { exact: true })).toBeVisible();
    expect(await page.evaluate(() => localStorage.getItem("cinequery.history"))).toBeNull();
  });
});

test("without the service, the search says so and can be sent again", async ({ page, context, expected }) => {
  expected.push(/Failed to load resource: net::ERR_INTERNET_DISCONNECTED/);
  await open(page);
  await context.setOffline(true);
  await search(page, "release_year < 1930");
  await expect(page.getByText("the service cannot be reached; check the connection and try again").first()).toBeVisible();
  await context.setOffline(false);
  await page.getByRole("main").getByRole("button", { name: "Try again" }).click();
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
});

test("an unknown collection is named, with a way out", async ({ page }) => {
  await open(page, "#/cinemas");
  await expect(page.getByRole("alert")).toContainText("cinemas");
  await page.getByRole("link", { name: "Show the first one" }).click();
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
});

test("malformed links and storages do not break the page", async ({ page }) => {
  await page.addInitScript(() => {
    localStorage.setItem("cinequery.history", '{"movies":"x"}');
    sessionStorage.setItem("cinequery.selection", "{");
    sessionStorage.setItem("cinequery.match", "{");
    sessionStorage.setItem("cinequery.recent", "[");
    sessionStorage.setItem("cinequery.sign-in", "{");
  });
  await open(page, "#/%E0%A4%A");
  await page.getByRole("link", { name: "Show the first one" }).click();
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  await search(page, "title = $constructor");
  await expect(page.getByText("Enter the values to search.")).toBeVisible();
  await page.getByLabel("$constructor").fill("Safety Last!");
  await page.getByLabel("$constructor").press("Enter");
  await expect(page.getByText("1 record", { exact: true })).toBeVisible();
  await page.getByRole("row", { name: /Safety Last!/ }).click();
  await page.getByRole("tab", { name: "Why found?" }).click();
  await expect(page.getByRole("dialog", { name: "Safety Last!" })).toBeVisible();
});

test("changes that another user has left in the tab are not listed", async ({ page }) => {
  await page.addInitScript(() => {
    if (sessionStorage.getItem("cinequery.owner")) return;
    sessionStorage.setItem("cinequery.owner", "/ another user");
    const change = { id: 1, at: new Date().toISOString(), collection: "movies", text: "Changed “Another”", kind: "changed", records: [], isUndone: false };
    sessionStorage.setItem("cinequery.recent", JSON.stringify([change]));
  });
  await open(page);
  await expect(page.locator(".total")).toHaveText(/record/);
  await expect(page.getByRole("button", { name: "Recent changes" })).toBeHidden();
});
