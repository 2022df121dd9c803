// A public catalogue: what a visitor without a token sees. The service is started with `--anonymous viewer`.

import { accessible, expect, filter, search, test } from "./console";

test.skip(process.env["CINEQUERY_KIND"] !== "visitor", "this service has no visitors");

test("a visitor searches without signing in, and is offered nothing that writes", async ({ page }) => {
  await page.goto("./");
  await expect(page.getByRole("row", { name: /Safety Last!/ })).toBeVisible();
  await search(page, 'genre = "comedy" and release_year < 1930');
  await expect(page.getByRole("row", { name: /The Jazz Singer/ })).toHaveCount(0);
  for (const name of ["Import", "Users", "Saved queries"]) await expect(page.getByRole("link", { name })).toHaveCount(0);
  await expect(page.getByRole("button", { name: "New record" })).toHaveCount(0);
  await accessible(page);
});

test("a visitor may sign in, and stays where the visitor was", async ({ page }) => {
  await page.goto("./#/movies?filter=release_year+%3C+1930");
  await page.getByText("Not signed in", { exact: true }).click();
  await page.getByRole("button", { name: "Sign in" }).click();
  const form = page.getByRole("dialog", { name: "Sign in" });
  await form.getByRole("button", { name: "Close" }).click();
  await expect(form).toHaveCount(0);
  await page.getByText("Not signed in", { exact: true }).click();
  await page.getByRole("button", { name: "Sign in" }).click();
  await form.getByLabel("User name").fill(process.env["CINEQUERY_USERNAME"] ?? "");
  await form.getByLabel("Password").fill(process.env["CINEQUERY_PASSWORD"] ?? "");
  await form.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("link", { name: "Users" })).toBeVisible();
  await expect(filter(page)).toHaveText("release_year < 1930");
});
